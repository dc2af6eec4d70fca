//! In which order a producer's channels stand so that its consumers read neighbours, and copy little.
//!
//! Every consumer reads a set of channels. Sets that share channels are joined by an edge that costs as many as they share, and a set weighs its channels. The sets
//! of the heaviest path of which only neighbours share channels can all be neighbours: along the path stand the channels that a set shares with the one before, its own,
//! and those it shares with the next. What lies inside one of these stretches is ordered inside it in the same way; then the sets that have no channel yet are, path by
//! path. All others are copied.
//!
//! A search extends paths at most [`STEPS`] times, as often from every set; then the heaviest path that was seen stands. Paths are ranked by weight, of equal ones the first
//! stands. So for n sets an order costs at most `n` searches of [`STEPS`] steps and the sizes of `n²` intersections each.

/// How often a search extends a path.
pub const STEPS: usize = 20_000;

/// The channels, those that some consumer reads first, in an order of which as few consumers as this finds read channels that are no neighbours; of equal numbers of
/// consumers fewer channels of such. Where it finds nothing better than the order they have, that stays.
///
/// Consumers are rising lists of channels below `channels`.
pub fn order(consumers: &[Vec<usize>], channels: usize) -> Vec<usize> {
    let mut found = arranged(consumers);
    let mut placed = vec![false; channels];
    for channel in &found {
        placed[*channel] = true;
    }
    found.extend((0..channels).filter(|channel| !placed[*channel]));
    let as_is: Vec<usize> = (0..channels).collect();
    if copies(&found, consumers) < copies(&as_is, consumers) { found } else { as_is }
}

/// How many consumers read channels that are no neighbours in an order, and how many channels those are.
pub fn copies(order: &[usize], consumers: &[Vec<usize>]) -> (usize, usize) {
    let mut positions = vec![0; order.len()];
    order.iter().enumerate().for_each(|(at, channel)| positions[*channel] = at);
    let gathered = consumers.iter().filter(|set| slice(&positions, set).is_none());
    gathered.fold((0, 0), |(consumers, channels), set| (consumers + 1, channels + set.len()))
}

/// The places from which and to before which a set is read, where it is all that stands there.
pub fn slice(positions: &[usize], set: &[usize]) -> Option<(usize, usize)> {
    let places = || set.iter().map(|channel| positions[*channel]);
    let (first, last) = (places().min()?, places().max()?);
    (last - first + 1 == set.len()).then_some((first, last + 1))
}

/// The channels that some consumer reads, in the order that is found.
pub fn arranged(consumers: &[Vec<usize>]) -> Vec<usize> {
    let mut sets: Vec<&[usize]> = Vec::new();
    for set in consumers {
        if !set.is_empty() && !sets.contains(&set.as_slice()) {
            sets.push(set);
        }
    }
    let mut all: Vec<usize> = consumers.concat();
    all.sort_unstable();
    all.dedup();
    within(&all, &sets)
}

/// The channels of a stretch, ordered by sets that lie inside it.
fn within(channels: &[usize], sets: &[&[usize]]) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::with_capacity(channels.len());
    let mut left: Vec<&[usize]> = sets.to_vec();
    loop {
        let placed = sorted(&order);
        left.retain(|set| shared(set, &placed) == 0);
        let greatest: Vec<&[usize]> =
            left.iter().copied().filter(|set| !left.iter().any(|other| *set != *other && inside(set, other))).collect();
        let path: Vec<&[usize]> = heaviest(&greatest).into_iter().map(|at| greatest[at]).collect();
        if path.is_empty() {
            break;
        }
        let inner: Vec<&[usize]> = left.iter().copied().filter(|set| !path.contains(set)).collect();
        order.extend(along(&path, &inner));
    }
    let placed = sorted(&order);
    order.extend(minus(channels, &placed));
    order
}

/// The channels of a path, and inside its stretches those of other sets as neighbours.
fn along(path: &[&[usize]], inner: &[&[usize]]) -> Vec<usize> {
    let mut stretches: Vec<Vec<usize>> = Vec::new();
    for (at, set) in path.iter().enumerate() {
        let before = at.checked_sub(1).map_or(&[][..], |before| path[before]);
        let next = path.get(at + 1).copied().unwrap_or(&[]);
        stretches.push(minus(&minus(set, before), next));
        stretches.push(common(set, next));
    }
    stretches.retain(|stretch| !stretch.is_empty());
    // A set that lies across a border between two of them can end one and begin the other, where that cuts no set inside them.
    let mut begins: Vec<Vec<usize>> = vec![Vec::new(); stretches.len()];
    let mut ends = begins.clone();
    for border in 1..stretches.len() {
        let fits = |set: &[usize]| -> Option<[Vec<usize>; 2]> {
            let parts = [common(set, &stretches[border - 1]), common(set, &stretches[border])];
            let across = parts.iter().all(|part| !part.is_empty()) && parts[0].len() + parts[1].len() == set.len();
            let whole = |part: &[usize], stretch: &[usize]| {
                let within = inner.iter().filter(|other| inside(other, stretch));
                within.copied().all(|other| inside(other, part) || shared(other, part) == 0)
            };
            let cuts = !whole(&parts[0], &stretches[border - 1]) || !whole(&parts[1], &stretches[border]);
            (across && !cuts && shared(&parts[0], &begins[border - 1]) == 0).then_some(parts)
        };
        if let Some([end, begin]) = inner.iter().find_map(|set| fits(set)) {
            (ends[border - 1], begins[border]) = (end, begin);
        }
    }
    let mut order = Vec::new();
    for ((stretch, begin), end) in stretches.iter().zip(&begins).zip(&ends) {
        let middle = minus(&minus(stretch, begin), end);
        for part in [begin, &middle, end] {
            let own: Vec<&[usize]> = inner.iter().copied().filter(|set| inside(set, part)).collect();
            order.extend(within(part, &own));
        }
    }
    order
}

/// The sets of the heaviest path that was found, of which only neighbours share channels.
fn heaviest(sets: &[&[usize]]) -> Vec<usize> {
    let shares = sets.iter().map(|a| sets.iter().map(|b| shared(a, b)).collect()).collect();
    let mut search = Search { shares, barred: vec![0; sets.len()], path: Vec::new(), best: (0, Vec::new()), steps: 0 };
    for at in 0..sets.len() {
        search.steps = (STEPS / sets.len()).max(1);
        search.extend(at, 0);
    }
    search.best.1
}

struct Search {
    /// Channels that each two sets share; a set and itself all of it.
    shares: Vec<Vec<usize>>,
    /// How often each set is barred: it is on the path, or shares channels with a set before the last.
    barred: Vec<usize>,
    path: Vec<usize>,
    best: (usize, Vec<usize>),
    steps: usize,
}

impl Search {
    /// Goes on from the path with a set that adds so much weight less what it shares with the last.
    fn extend(&mut self, at: usize, weight: usize) {
        if self.steps == 0 {
            return;
        }
        self.steps -= 1;
        let weight = weight + self.shares[at][at] - self.path.last().map_or(0, |last| self.shares[*last][at]);
        self.path.push(at);
        if weight > self.best.0 {
            self.best = (weight, self.path.clone());
        }
        let next: Vec<usize> = (0..self.shares.len())
            .filter(|other| *other != at && self.shares[at][*other] > 0 && self.barred[*other] == 0)
            .collect();
        // Whoever shares channels with this one can follow it alone, and nobody behind it.
        self.barred[at] += 1;
        for other in &next {
            self.barred[*other] += 1;
        }
        for other in &next {
            self.extend(*other, weight);
        }
        for other in &next {
            self.barred[*other] -= 1;
        }
        self.barred[at] -= 1;
        self.path.pop();
    }
}

fn sorted(channels: &[usize]) -> Vec<usize> {
    let mut sorted = channels.to_vec();
    sorted.sort_unstable();
    sorted
}

/// Channels of both of two rising lists.
fn common(a: &[usize], b: &[usize]) -> Vec<usize> {
    a.iter().copied().filter(|channel| b.binary_search(channel).is_ok()).collect()
}

/// Channels of the first of two rising lists that are not in the second.
fn minus(a: &[usize], b: &[usize]) -> Vec<usize> {
    a.iter().copied().filter(|channel| b.binary_search(channel).is_err()).collect()
}

fn shared(a: &[usize], b: &[usize]) -> usize {
    let (few, many) = if a.len() < b.len() { (a, b) } else { (b, a) };
    few.iter().filter(|channel| many.binary_search(channel).is_ok()).count()
}

fn inside(a: &[usize], b: &[usize]) -> bool {
    a.len() <= b.len() && shared(a, b) == a.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slices(order: &[usize], consumers: &[Vec<usize>]) -> Vec<Option<(usize, usize)>> {
        let most = order.iter().max().map_or(0, |most| most + 1);
        let mut positions = vec![usize::MAX / 2; most];
        order.iter().enumerate().for_each(|(at, channel)| positions[*channel] = at);
        consumers.iter().map(|set| slice(&positions, set)).collect()
    }

    #[test]
    fn the_worked_example_of_three_consumers() {
        let consumers = [vec![0, 1], vec![1, 2], vec![0, 2, 4]];
        assert_eq!(arranged(&consumers), [1, 0, 2, 4]);
        assert_eq!(slices(&arranged(&consumers), &consumers), [Some((0, 2)), None, Some((1, 4))]);
        assert_eq!(order(&consumers, 5), [1, 0, 2, 4, 3]);
        assert_eq!((copies(&order(&consumers, 5), &consumers), copies(&[0, 1, 2, 3, 4], &consumers)), ((1, 2), (1, 3)));
    }

    #[test]
    fn two_consumers_that_share_a_channel_copy_nothing() {
        let consumers = [vec![0, 2], vec![1, 2, 3]];
        assert_eq!(order(&consumers, 4), [0, 2, 1, 3]);
        assert_eq!(slices(&order(&consumers, 4), &consumers), [Some((0, 2)), Some((1, 4))]);
        assert_eq!((copies(&[0, 1, 2, 3], &consumers).0, copies(&[0, 2, 1, 3], &consumers).0), (1, 0));
    }

    #[test]
    fn consumers_inside_others_and_apart_from_them_copy_nothing() {
        // A chain of three, two inside its first, one across a border, and a pair apart.
        let consumers = [
            vec![0, 3, 6, 9, 12, 15],
            vec![12, 15, 18, 21],
            vec![21, 24],
            vec![3, 9],
            vec![0, 6],
            vec![15, 18],
            vec![1, 25],
            vec![2, 25],
        ];
        let found = order(&consumers, 27);
        assert_eq!(copies(&found, &consumers), (0, 0), "{found:?}");
        assert_eq!(copies(&(0..27).collect::<Vec<_>>(), &consumers).0, 8);
        // The same consumer twice is one.
        let twice = [consumers.clone(), consumers].concat();
        assert_eq!(order(&twice, 27), found);
    }

    #[test]
    fn sixty_consumers_of_one_another_end_soon() {
        // Every two share channels; and circles, in which paths are long.
        let drawn = |at: usize, salt: usize| (0..96).filter(|c| (c * 7919 + at * 104_729 + salt) % 13 < 9).collect();
        let consumers: Vec<Vec<usize>> = (0..60).map(|at| drawn(at, at * at)).collect();
        assert!(copies(&order(&consumers, 96), &consumers).0 <= copies(&(0..96).collect::<Vec<_>>(), &consumers).0);
        let circle: Vec<Vec<usize>> = (0..60)
            .map(|at| {
                let mut set = vec![at, (at + 7) % 60, (at + 14) % 60];
                set.sort_unstable();
                set
            })
            .collect();
        assert!(copies(&order(&circle, 60), &circle).0 < 60);
    }

    fn any_consumers() -> impl Strategy<Value = Vec<Vec<usize>>> {
        let set = prop::collection::btree_set(0usize..24, 1..20).prop_map(|set| set.into_iter().collect());
        prop::collection::vec(set, 1..9)
    }

    proptest! {
        #[test]
        fn orders_have_every_channel_once_and_copy_no_more_than_before(consumers in any_consumers()) {
            let found = order(&consumers, 24);
            let as_is: Vec<usize> = (0..24).collect();
            prop_assert_eq!(sorted(&found), as_is.clone());
            prop_assert!(copies(&found, &consumers).0 <= copies(&as_is, &consumers).0);
            // Two at least of those that differ are read without a copy.
            prop_assert!(copies(&found, &consumers[..1]).0 == 0 || consumers.len() > 1);
            prop_assert!(copies(&found, &consumers).0 <= consumers.len().saturating_sub(2));
        }

        #[test]
        fn one_consumer_or_equal_ones_copy_nothing(set in any_consumers(), times in 1usize..5) {
            let consumers = vec![set[0].clone(); times];
            prop_assert_eq!(copies(&order(&consumers, 24), &consumers), (0, 0));
        }

        #[test]
        fn nested_consumers_copy_nothing(cuts in prop::collection::vec(1usize..24, 1..6), by in 1usize..23) {
            // The first so many of the channels in any order.
            let channels: Vec<usize> = (0..24).map(|at| (at * 5 + by) % 24).collect();
            let consumers: Vec<Vec<usize>> = cuts.iter().map(|cut| sorted(&channels[..*cut])).collect();
            prop_assert_eq!(copies(&order(&consumers, 24), &consumers), (0, 0));
        }
    }
}
