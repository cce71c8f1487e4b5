use std::sync::{PoisonError, RwLock};

/// The series of one instrument by what tells them apart, each bound to its labels when it is
/// measured for the first time.
///
/// There are few, which are looked up in a list: to hash all labels each time would take longer
/// than the rest of the measuring.
#[derive(Debug)]
pub struct Series<K, B>(RwLock<Vec<(K, B)>>);

impl<K, B> Default for Series<K, B> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: PartialEq, B> Series<K, B> {
    /// Measures by the series of this key.
    pub fn measure(&self, key: K, measure: impl FnOnce(&B), bind: impl FnOnce(&K) -> B) {
        let of_key = |all: &[(K, B)]| all.iter().position(|(of, _)| *of == key);
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = of_key(&known) {
            return measure(&known[place].1);
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let place = of_key(&known).unwrap_or_else(|| {
            let bound = bind(&key);
            known.push((key, bound));
            known.len() - 1
        });
        measure(&known[place].1);
    }
}
