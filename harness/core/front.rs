//! Pareto fronts: which of many points no other beats.

use crate::metric::Direction;

/// For each point whether another is at least as good in both directions and better in one. Neutral directions count
/// as lower is better. A point with NaN beats nothing and is beaten by nothing.
pub fn dominated(points: &[(f64, f64)], x: Direction, y: Direction) -> Vec<bool> {
    let cost = |value: f64, direction| if direction == Direction::Higher { -value } else { value };
    let costs: Vec<(f64, f64)> = points.iter().map(|(a, b)| (cost(*a, x), cost(*b, y))).collect();
    let mut order: Vec<usize> = (0..costs.len()).filter(|i| !costs[*i].0.is_nan() && !costs[*i].1.is_nan()).collect();
    // Adding zero makes the two zeros one.
    let key = |i: &usize| (costs[*i].0 + 0.0, costs[*i].1 + 0.0);
    order.sort_by(|a, b| key(a).0.total_cmp(&key(b).0).then(key(a).1.total_cmp(&key(b).1)));
    let mut beaten = vec![false; points.len()];
    // Among points of smaller x the best y so far; equal points do not beat each other.
    let mut best: Option<(f64, f64)> = None;
    for i in order {
        let (a, b) = key(&i);
        beaten[i] = best.is_some_and(|(x, y)| y < b || (y == b && x < a));
        if best.is_none_or(|(_, y)| b < y) {
            best = Some((a, b));
        }
    }
    beaten
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_front_is_known() {
        let points = [(1.0, 9.0), (2.0, 5.0), (2.0, 6.0), (3.0, 5.0), (4.0, 1.0), (2.0, 5.0), (f64::NAN, 0.0)];
        let beaten = dominated(&points, Direction::Lower, Direction::Lower);
        assert_eq!(beaten, [false, false, true, true, false, false, false]);
        let higher = dominated(&[(1.0, 1.0), (2.0, 1.0), (1.0, 0.5)], Direction::Higher, Direction::Lower);
        assert_eq!(higher, [true, false, false]);
    }

    proptest! {
        #[test]
        fn it_is_what_comparing_all_pairs_gives(
            points in prop::collection::vec((-4_i32..5, -4_i32..5), 0..40),
            up in any::<(bool, bool)>(),
        ) {
            let direction = |up| if up { Direction::Higher } else { Direction::Lower };
            let points: Vec<(f64, f64)> = points.iter().map(|(a, b)| (f64::from(*a) / 2.0, f64::from(*b))).collect();
            let sign = |up| if up { -1.0 } else { 1.0 };
            let better = |p: &(f64, f64), q: &(f64, f64)| {
                let (dx, dy) = ((q.0 - p.0) * sign(up.0), (q.1 - p.1) * sign(up.1));
                dx >= 0.0 && dy >= 0.0 && (dx > 0.0 || dy > 0.0)
            };
            let wanted: Vec<bool> = points.iter().map(|q| points.iter().any(|p| better(p, q))).collect();
            prop_assert_eq!(dominated(&points, direction(up.0), direction(up.1)), wanted);
        }
    }
}
