use std::sync::Arc;

/// A source of random numbers in 0..1. Given from outside, so that a simulation replays.
#[derive(Clone)]
pub(crate) struct Rng(Arc<dyn Fn() -> f64 + Send + Sync>);

impl Rng {
    #[cfg(test)]
    pub(crate) fn new(sample: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(sample))
    }

    pub(crate) fn sample(&self) -> f64 {
        (self.0)()
    }
}

impl Default for Rng {
    fn default() -> Self {
        Self(Arc::new(rand::random))
    }
}
