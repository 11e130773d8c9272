//! A bounded memory: it forgets what it was told first.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

pub struct Recent<K, V> {
    known: HashMap<K, V>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    pub fn new(most: usize) -> Self {
        Self { known: HashMap::new(), order: VecDeque::new(), most }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.known.get(key)
    }

    /// What was known under this key is replaced, and stays as old as it was.
    pub fn note(&mut self, key: K, value: V) {
        if self.known.insert(key, value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_forgets_the_oldest_and_never_grows_beyond_its_bound() {
        let mut recent = Recent::new(3);
        (0..5).for_each(|n| recent.note(n, n));
        recent.note(2, 20);
        recent.note(5, 5);
        assert_eq!((recent.known.len(), recent.order.len()), (3, 3));
        assert_eq!(
            (0..6).map(|n| recent.get(&n).copied()).collect::<Vec<_>>(),
            [None, None, None, Some(3), Some(4), Some(5)]
        );
        recent.clear();
        assert_eq!(recent.get(&5), None);
        recent.note(5, 6);
        assert_eq!(recent.get(&5), Some(&6));
    }
}
