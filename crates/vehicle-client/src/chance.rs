use std::sync::Arc;

/// Where chance comes from: numbers in 0..1. Given from outside, so that a simulation replays.
#[derive(Clone)]
pub(crate) struct Chance(Arc<dyn Fn() -> f64 + Send + Sync>);

impl Chance {
    #[cfg(test)]
    pub(crate) fn new(draw: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(draw))
    }

    pub(crate) fn draw(&self) -> f64 {
        (self.0)()
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self(Arc::new(rand::random))
    }
}
