//! Discrete empirical interpolation: as many rows as there are vectors, such that each vector is known by its values there.

harness_core::choice! {
    /// How the vectors still to come are changed once a row is chosen.
    pub enum Deim {
        /// The next one has taken from it what the ones before say of it at the chosen rows (Sorensen and Embree).
        Canonical = "canonical",
        /// All have taken from them the projection that makes them zero at the row chosen last, as the code of CURing first did.
        Paper = "paper",
        /// One and the same vector is taken from all, as that code does later. What is chosen then depends on the signs of vectors.
        Head = "head",
    }
}

/// Rows of `vectors` (rows × count, row-major), one for each column, in the order they are found. Of equals the first is chosen,
/// and none twice. `None` where there are fewer rows than columns.
pub fn chosen(vectors: &[f64], count: usize, deim: Deim) -> Option<Vec<usize>> {
    let mut state = vectors.to_vec();
    let mut picked: Vec<usize> = Vec::with_capacity(count);
    for k in 0..count {
        let size = |row: usize| state[row * count + k].abs();
        let rows = (0..vectors.len() / count).filter(|row| !picked.contains(row));
        let row = rows.reduce(|best, row| if size(row) > size(best) { row } else { best })?;
        picked.push(row);
        project(&mut state, count, k, row, deim);
    }
    Some(picked)
}

/// Changes the columns still to come once `row` is chosen for column `k`.
///
/// `Canonical`: column `k` is `u_k − U c` with `U[P] c = u_k[P]`, zero at the rows before, so that taking `U[row, j] / U[row, k]` times
/// it from every column `j` behind leaves those zero there and at `row`: the elimination that solves for `c`. The others:
/// `U[:, j] −= U[:, ..k] pinv(U[row, ..k]) U[row, j]`, without the last factor for `Head`.
fn project(state: &mut [f64], count: usize, k: usize, row: usize, deim: Deim) {
    let at = state[row * count..(row + 1) * count].to_vec();
    let from = if deim == Deim::Canonical { k } else { 0 };
    let norm: f64 = at[from..=k].iter().map(|value| value * value).sum();
    if norm == 0.0 {
        return;
    }
    for own in state.chunks_exact_mut(count) {
        let along = own[from..=k].iter().zip(&at[from..]).map(|(a, b)| a * b).sum::<f64>() / norm;
        for (value, factor) in own[k + 1..].iter_mut().zip(&at[k + 1..]) {
            *value -= if deim == Deim::Head { along } else { along * factor };
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_rows_of_two_vectors_by_hand() {
        // The first vector is greatest in row 2. At it the second is half of the first, so (0, 3, 2) − 0.5 (1, 2, 4) = (−0.5, 2, 0).
        let vectors = [1.0, 0.0, 2.0, 3.0, 4.0, 2.0];
        assert_eq!(chosen(&vectors, 2, Deim::Canonical).unwrap(), [2, 1]);
        // Projection: along is (1, 2, 4) / 4, times 2: the same here.
        assert_eq!(chosen(&vectors, 2, Deim::Paper).unwrap(), [2, 1]);
        // Without that factor (0, 3, 2) − (0.25, 0.5, 1) = (−0.25, 2.5, 1).
        assert_eq!(chosen(&vectors, 2, Deim::Head).unwrap(), [2, 1]);
    }

    #[test]
    fn no_row_is_chosen_twice() {
        let vectors: Vec<f64> = (0..40 * 12_usize).map(|i| (i as f64 * 0.71 + (i % 7) as f64).sin()).collect();
        for deim in [Deim::Canonical, Deim::Paper, Deim::Head] {
            let mut rows = chosen(&vectors, 12, deim).unwrap();
            rows.sort_unstable();
            rows.dedup();
            assert_eq!(rows.len(), 12, "{deim:?}");
        }
    }
}
