//! The queue of best-first beam search: hypotheses by length, of each length no more than still fit into the beam.

use std::cmp::Ordering;
use std::collections::BTreeSet;

/// A hypothesis that waits.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// What it is taken by; never larger than that of what it continues.
    pub key: f64,
    pub tokens: Vec<u32>,
    /// The logarithm of its probability.
    pub sum: f64,
    /// The same in the unconditional branch, where there is one.
    pub other: f64,
    /// When what it continues was taken up.
    pub parent: usize,
    /// Whether it ends in an end token.
    pub finished: bool,
}

impl Ord for Node {
    /// First what is taken first: the larger key, then the shorter, then the earlier parent, then the lower token.
    fn cmp(&self, other: &Self) -> Ordering {
        let shorter = self.tokens.len().cmp(&other.tokens.len());
        let last = self.tokens.last().cmp(&other.tokens.last());
        other.key.total_cmp(&self.key).then(shorter).then(self.parent.cmp(&other.parent)).then(last)
    }
}

impl PartialOrd for Node {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Node {}

/// What becomes of a hypothesis that is taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is continued.
    Continue,
    /// It is in the final beam.
    Final,
    /// It was in the beam at its own length, and longer ones have since taken its place.
    Displaced,
}

/// Waiting hypotheses, and how many were taken up at every length.
pub(crate) struct Queue {
    /// By length, from none.
    levels: Vec<BTreeSet<Node>>,
    pub pops: Vec<usize>,
    width: usize,
    /// At most so many wait.
    memory: Option<usize>,
    waiting: usize,
    pub deleted: usize,
}

impl Queue {
    pub fn new(width: usize, limit: usize, memory: Option<usize>) -> Self {
        let levels = vec![BTreeSet::new(); limit + 1];
        Self { levels, pops: vec![0; limit + 1], width, memory, waiting: 0, deleted: 0 }
    }

    /// Places left in the beam at a length.
    pub fn room(&self, length: usize) -> usize {
        self.width - self.pops[length]
    }

    /// Waiting hypotheses, in no order that matters.
    pub fn waiting(&self) -> impl Iterator<Item = &Node> {
        self.levels.iter().flatten()
    }

    /// Puts a hypothesis in; it is forgotten where better ones of its length fill the beam.
    pub fn push(&mut self, node: Node) {
        let length = node.tokens.len();
        self.waiting += usize::from(self.levels[length].insert(node));
        self.trim(length);
    }

    /// Deletes the worst of the shortest until no more wait than there is memory for.
    pub fn forget(&mut self) {
        let Some(memory) = self.memory else { return };
        while self.waiting > memory {
            let Some(level) = self.levels.iter_mut().find(|level| !level.is_empty()) else { return };
            level.pop_last();
            self.waiting -= 1;
            self.deleted += 1;
        }
    }

    /// Takes up the first.
    pub fn pop(&mut self) -> Option<(Node, Fate)> {
        let best = self.levels.iter().filter_map(BTreeSet::first).min()?.tokens.len();
        let node = self.levels[best].pop_first()?;
        self.waiting -= 1;
        let limit = self.levels.len() - 1;
        if !node.finished {
            self.occupy(best);
            return Some((node, if best == limit { Fate::Final } else { Fate::Continue }));
        }
        // A finished hypothesis keeps its place in the beam of every later length, as long as it has one.
        for length in best..=limit {
            if self.room(length) == 0 {
                return Some((node, Fate::Displaced));
            }
            self.occupy(length);
        }
        Some((node, Fate::Final))
    }

    fn occupy(&mut self, length: usize) {
        self.pops[length] += 1;
        if self.room(length) == 0 {
            // Whatever is shorter would have to find a place at this length.
            for level in &mut self.levels[..length] {
                self.waiting -= level.len();
                level.clear();
            }
        }
        self.trim(length);
    }

    fn trim(&mut self, length: usize) {
        while self.levels[length].len() > self.width - self.pops[length] {
            self.levels[length].pop_last();
            self.waiting -= 1;
        }
    }
}
