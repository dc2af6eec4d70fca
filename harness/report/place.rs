//! Labels that do not lie on one another.

/// Pushes labels of one height apart along y, each as near to where it wants to be as the others allow, between `top`
/// and `bottom`. The order of the labels is kept.
pub fn spread(wanted: &[f64], height: f64, top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]).then(a.cmp(b)));
    // Labels that would overlap form a block, whose middle stands at the mean of its wishes.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for place in &order {
        blocks.push((wanted[*place].min(bottom - height / 2.0).max(top + height / 2.0), 1));
        while let [.., (above, upper), (below, lower)] = blocks[..] {
            if below - above >= height * f64::midpoint(upper as f64, lower as f64) {
                break;
            }
            blocks.truncate(blocks.len() - 2);
            let count = upper + lower;
            let mean = (above * upper as f64 + below * lower as f64) / count as f64;
            let half = height * count as f64 / 2.0;
            blocks.push((mean.min(bottom - half).max(top + half), count));
        }
    }
    let places = blocks.iter().flat_map(|(middle, count)| {
        (0..*count).map(move |index| middle + height * (index as f64 - (*count as f64 - 1.0) / 2.0))
    });
    let mut found = vec![0.0; wanted.len()];
    for (place, y) in order.into_iter().zip(places) {
        found[place] = y;
    }
    found
}

/// A rectangle: left, top, right, bottom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Area {
    pub fn width(&self) -> f64 {
        self.right - self.left
    }

    pub fn height(&self) -> f64 {
        self.bottom - self.top
    }

    fn meets(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    fn within(&self, other: &Self) -> bool {
        self.left >= other.left && self.right <= other.right && self.top >= other.top && self.bottom <= other.bottom
    }
}

/// A free place at a distance beside a point for a label of a size, tried clockwise from the right; `None` where all are
/// taken.
pub fn beside(point: (f64, f64), size: (f64, f64), gap: f64, bounds: &Area, taken: &[Area]) -> Option<Area> {
    let ((x, y), (width, height)) = (point, size);
    let offsets = [
        (gap, -height / 2.0),
        (-gap - width, -height / 2.0),
        (-width / 2.0, -gap - height),
        (-width / 2.0, gap),
        (gap * 0.7, gap * 0.6),
        (gap * 0.7, -gap * 0.6 - height),
        (-gap * 0.7 - width, gap * 0.6),
        (-gap * 0.7 - width, -gap * 0.6 - height),
    ];
    offsets
        .into_iter()
        .map(|(dx, dy)| Area { left: x + dx, top: y + dy, right: x + dx + width, bottom: y + dy + height })
        .find(|area| area.within(bounds) && !taken.iter().any(|other| area.meets(other)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_that_fit_stay_and_others_are_pushed() {
        assert_eq!(spread(&[10.0, 50.0], 10.0, 0.0, 100.0), [10.0, 50.0]);
        assert_eq!(spread(&[50.0, 50.0], 10.0, 0.0, 100.0), [45.0, 55.0]);
        assert_eq!(spread(&[99.0, 98.0], 10.0, 0.0, 100.0), [95.0, 85.0]);
    }

    proptest! {
        #[test]
        fn no_two_labels_overlap(wanted in prop::collection::vec(0.0..300.0_f64, 0..20)) {
            let mut places = spread(&wanted, 12.0, 0.0, 300.0);
            places.sort_by(f64::total_cmp);
            prop_assert!(places.windows(2).all(|pair| pair[1] - pair[0] > 12.0 - 1e-6));
            prop_assert!(places.iter().all(|y| (6.0 - 1e-6..=294.0 + 1e-6).contains(y)));
        }
    }
}
