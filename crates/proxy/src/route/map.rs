//! A map from names whose copies share what they have in common. A copy is one counter; a change of a copy copies the way
//! to the entry, which is two nodes of [`FAN`] pointers and the few entries of one leaf, however many entries there are.

use foldhash::quality::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Children of a node; two levels make [`FAN`] squared leaves, so that 10,000 names are two or three to a leaf.
const FAN: usize = 64;

type Leaf<V> = Vec<(Arc<str>, V)>;
type Node<T> = [Option<Arc<T>>; FAN];

fn node<T>() -> Node<T> {
    std::array::from_fn(|_| None)
}

/// The map. Keys are hashed with a seed of the process, so nobody can choose names that share a leaf.
#[derive(Clone, Debug)]
pub struct Map<V> {
    hasher: RandomState,
    root: Arc<Node<Node<Leaf<V>>>>,
}

impl<V> Default for Map<V> {
    fn default() -> Map<V> {
        Map {
            hasher: RandomState::default(),
            root: Arc::new(node()),
        }
    }
}

impl<V: Clone> Map<V> {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&V> {
        let (branch, leaf) = self.way(name);
        let leaf = self.root[branch].as_ref()?[leaf].as_ref()?;
        let entry = leaf.iter().find(|(key, _)| **key == *name);
        entry.map(|(_, value)| value)
    }

    /// Sets the value of a name.
    pub fn insert(&mut self, name: &str, value: V) {
        let (branch, leaf) = self.way(name);
        let root = Arc::make_mut(&mut self.root);
        let branch = Arc::make_mut(root[branch].get_or_insert_with(|| Arc::new(node())));
        let leaf = Arc::make_mut(branch[leaf].get_or_insert_with(Arc::default));
        match leaf.iter_mut().find(|(key, _)| **key == *name) {
            Some(entry) => entry.1 = value,
            None => leaf.push((name.into(), value)),
        }
    }

    /// Takes a name out.
    pub fn remove(&mut self, name: &str) {
        if self.get(name).is_none() {
            return;
        }
        let (at, leaf) = self.way(name);
        if let Some(branch) = &mut Arc::make_mut(&mut self.root)[at] {
            let place = &mut Arc::make_mut(branch)[leaf];
            if let Some(entries) = place {
                let entries = Arc::make_mut(entries);
                entries.retain(|(key, _)| **key != *name);
                if entries.is_empty() {
                    *place = None;
                }
            }
        }
    }

    fn way(&self, name: &str) -> (usize, usize) {
        let hash = self.hasher.hash_one(name) as usize;
        (hash % FAN, hash / FAN % FAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_is_a_map_and_copies_do_not_change(steps in prop::collection::vec((0u8..60, prop::option::of(any::<u32>())), 0..200)) {
            let (mut map, mut model) = (Map::default(), HashMap::new());
            let mut copies = Vec::new();
            for (name, value) in steps {
                let name = format!("name-{name}");
                copies.push((map.clone(), model.clone()));
                match value {
                    Some(value) => { map.insert(&name, value); model.insert(name, value); }
                    None => { map.remove(&name); model.remove(&name); }
                }
            }
            copies.push((map, model));
            for (map, model) in copies {
                for name in 0..60 {
                    let name = format!("name-{name}");
                    prop_assert_eq!(map.get(&name), model.get(&name));
                }
            }
        }
    }

    #[test]
    fn a_change_leaves_all_else_shared() {
        let mut map = Map::default();
        for index in 0..10_000 {
            map.insert(&format!("host-{index}"), index);
        }
        let copy = map.clone();
        map.insert("host-7", 0);
        let same = |branch: &usize| {
            let (a, b) = (&map.root[*branch], &copy.root[*branch]);
            a.as_ref()
                .zip(b.as_ref())
                .is_some_and(|(a, b)| Arc::ptr_eq(a, b))
        };
        assert_eq!((0..FAN).filter(same).count(), FAN - 1);
        assert_eq!(
            (map.get("host-7"), copy.get("host-7")),
            (Some(&0), Some(&7))
        );
    }
}
