//! Matrices as tensor trains (matrix product operators).
//!
//! `W (N, K)` with `N = Π o_k` and `K = Π i_k` is read as a tensor of legs `(o_1 i_1)(o_2 i_2)…` and cut between them from left to right by
//! truncated singular value decompositions: cores `G_k (χ_{k−1}, o_k, i_k, χ_k)` with `χ_0 = χ_n = 1`.

use super::linalg::{Svd, decomposed, squares};
use super::{Factor, Factorisation};

/// A matrix' outputs and inputs, told out to cores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legs {
    /// `o_1 … o_n`.
    pub outputs: Vec<usize>,
    /// `i_1 … i_n`.
    pub inputs: Vec<usize>,
}

/// How far bonds are cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// The largest bond, `χ`.
    pub bond: usize,
    /// The relative error of the whole that may be made up for by smaller bonds; 0 keeps every singular value that fits.
    pub tolerance: f64,
}

/// `size` as a product of `order` numbers that are as equal as they can be: each is the divisor of what is left that is nearest to
/// its root by ratio, of two the smaller.
pub fn balanced(size: usize, order: usize) -> Vec<usize> {
    let mut left = size;
    let mut parts = Vec::with_capacity(order);
    for remaining in (1..=order).rev() {
        let root = (left as f64).ln() / remaining as f64;
        let divisors = (1..=left).filter(|part| left.is_multiple_of(*part));
        // Of two that are as far the smaller comes first; logarithms differ in their last digits.
        let far = |part: &usize| (((*part as f64).ln() - root).abs() * 1e9).round();
        let part = if remaining == 1 { left } else { divisors.min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(1) };
        parts.push(part);
        left /= part.max(1);
    }
    parts
}

/// The largest bonds that legs can have.
pub fn largest_bonds(legs: &Legs) -> Vec<usize> {
    let sizes: Vec<usize> = legs.outputs.iter().zip(&legs.inputs).map(|(o, i)| o * i).collect();
    (1..sizes.len()).map(|cut| sizes[..cut].iter().product::<usize>().min(sizes[cut..].iter().product())).collect()
}

/// Numbers of all cores with bonds of at most `bond`.
pub fn parameters(legs: &Legs, bond: usize) -> usize {
    let bonds: Vec<usize> = [1].into_iter().chain(largest_bonds(legs)).chain([1]).map(|most| most.min(bond)).collect();
    let each = legs.outputs.iter().zip(&legs.inputs).zip(bonds.windows(2));
    each.map(|((o, i), bonds)| bonds[0] * o * i * bonds[1]).sum()
}

/// One core, `(χ_before, o, i, χ_behind)`, row-major.
struct Core {
    before: usize,
    output: usize,
    input: usize,
    behind: usize,
    values: Vec<f64>,
}

impl Core {
    fn at(&self, before: usize, output: usize, input: usize, behind: usize) -> f64 {
        self.values[((before * self.output + output) * self.input + input) * self.behind + behind]
    }

    /// As a factor that reads `(χ_before, i)` and gives `(o, χ_behind)`, with `width` inputs still to come.
    fn forwards(&self, width: usize) -> Factor {
        let (rows, cols) = (self.output * self.behind, self.before * self.input);
        let value = |at: usize| {
            let (row, col) = (at / cols, at % cols);
            self.at(col / self.input, row / self.behind, col % self.input, row % self.behind)
        };
        Factor { rows, cols, width, values: (0..rows * cols).map(value).collect() }
    }

    /// As a factor that reads `(i, χ_behind)` and gives `(χ_before, o)`, with `width` outputs already there.
    fn backwards(&self, width: usize) -> Factor {
        let (rows, cols) = (self.before * self.output, self.input * self.behind);
        let value = |at: usize| {
            let (row, col) = (at / cols, at % cols);
            self.at(row / self.output, row % self.output, col / self.behind, col % self.behind)
        };
        Factor { rows, cols, width, values: (0..rows * cols).map(value).collect() }
    }
}

/// A matrix (rows × cols, row-major) as a train, its cores in the order of applying that takes fewer products; `None` where a
/// decomposition does not converge.
pub fn train(weight: &[f64], legs: &Legs, cut: Cut) -> Option<Factorisation> {
    let order = legs.outputs.len();
    let whole = squares(weight);
    // What each cut may lose.
    let may = (cut.tolerance * cut.tolerance) * whole / order.saturating_sub(1).max(1) as f64;
    let mut rest = interleaved(weight, legs);
    let mut before = 1;
    let mut found = Factorisation { lost: (0.0, whole), ..Factorisation::default() };
    let mut cores: Vec<Core> = Vec::with_capacity(order);
    for (at, (&output, &input)) in legs.outputs.iter().zip(&legs.inputs).enumerate() {
        let rows = before * output * input;
        if at + 1 == order {
            cores.push(Core { before, output, input, behind: 1, values: std::mem::take(&mut rest) });
            break;
        }
        let cols = rest.len() / rows;
        let Svd { left, singular, right } = decomposed(&rest, rows, cols)?;
        let ranks = singular.len();
        let fits = cut.bond.min(ranks);
        let behind = (1..fits).find(|&rank| cut.tolerance > 0.0 && squares(&singular[rank..]) <= may).unwrap_or(fits);
        found.lost.0 += squares(&singular[behind..]);
        let values = left.chunks_exact(ranks).flat_map(|row| row[..behind].iter().copied()).collect();
        cores.push(Core { before, output, input, behind, values });
        let rows_left = right.chunks_exact(cols).zip(&singular).take(behind);
        rest = rows_left.flat_map(|(row, s)| row.iter().map(move |value| value * s)).collect();
        before = behind;
        found.kept.push(behind);
        found.singular.push(singular);
    }
    let (first, last) = (forwards(&cores), backwards(&cores));
    let (there, back) = (products(&first, legs), products(&last, legs));
    found.note = Some(format!(
        "bonds {:?}, cores applied from the {}, {} products a token where the matrix takes {}",
        found.kept,
        if there <= back { "first" } else { "last" },
        there.min(back),
        weight.len()
    ));
    found.factors = if there <= back { first } else { last };
    Some(found)
}

/// Cores from the first to the last.
fn forwards(cores: &[Core]) -> Vec<Factor> {
    let behind = |at: usize| cores[at + 1..].iter().map(|core| core.input).product();
    cores.iter().enumerate().map(|(at, core)| core.forwards(behind(at))).collect()
}

/// Cores from the last to the first.
fn backwards(cores: &[Core]) -> Vec<Factor> {
    let behind = |at: usize| cores[at + 1..].iter().map(|core| core.output).product();
    cores.iter().enumerate().rev().map(|(at, core)| core.backwards(behind(at))).collect()
}

/// Multiplications a token.
fn products(factors: &[Factor], legs: &Legs) -> usize {
    let mut length: usize = legs.inputs.iter().product();
    let each = factors.iter().map(|factor| {
        let applied = length / factor.cols;
        length = applied * factor.rows;
        applied * factor.rows * factor.cols
    });
    each.sum()
}

/// `(o_1 … o_n, i_1 … i_n)` as `(o_1 i_1 o_2 i_2 …)`.
fn interleaved(weight: &[f64], legs: &Legs) -> Vec<f64> {
    let cols: usize = legs.inputs.iter().product();
    let order = legs.outputs.len();
    let mut turned = Vec::with_capacity(weight.len());
    let mut places = vec![0; 2 * order];
    for _ in 0..weight.len() {
        let index = |sizes: &[usize], side: usize| {
            sizes.iter().enumerate().fold(0, |index, (k, size)| index * size + places[2 * k + side])
        };
        turned.push(weight[index(&legs.outputs, 0) * cols + index(&legs.inputs, 1)]);
        // The next place, the last leg fastest.
        for leg in (0..2 * order).rev() {
            let size = if leg % 2 == 0 { legs.outputs[leg / 2] } else { legs.inputs[leg / 2] };
            places[leg] += 1;
            if places[leg] < size {
                break;
            }
            places[leg] = 0;
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn matrix(count: usize) -> Vec<f64> {
        (0..count).map(|i| (i as f64 * 0.37 + (i * i % 13) as f64).sin()).collect()
    }

    fn legs(outputs: &[usize], inputs: &[usize]) -> Legs {
        Legs { outputs: outputs.to_vec(), inputs: inputs.to_vec() }
    }

    fn distance(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
    }

    const ALL: Cut = Cut { bond: usize::MAX, tolerance: 0.0 };

    #[test]
    fn sizes_are_told_out_evenly() {
        assert_eq!(balanced(4096, 2), [64, 64]);
        assert_eq!(balanced(576, 2), [24, 24]);
        assert_eq!((balanced(1536, 2), balanced(96, 2)), (vec![32, 48], vec![8, 12]));
        assert_eq!(balanced(64, 3), [4, 4, 4]);
        assert_eq!(balanced(7, 2), [1, 7]);
        let square = legs(&[64, 64], &[64, 64]);
        assert_eq!((parameters(&square, 32), parameters(&square, 100)), (262_144, 819_200));
    }

    #[test]
    fn a_train_with_all_bonds_is_its_matrix() {
        for legs in [legs(&[3, 4], &[5, 2]), legs(&[2, 3, 2], &[2, 2, 5]), legs(&[7, 1], &[2, 3])] {
            let (rows, cols) = (legs.outputs.iter().product::<usize>(), legs.inputs.iter().product::<usize>());
            let weight = matrix(rows * cols);
            let found = train(&weight, &legs, ALL).unwrap();
            assert!(distance(&found.product(cols), &weight) < 1e-12, "{legs:?}");
            assert_eq!(found.kept, largest_bonds(&legs));
            assert_eq!(found.parameters(), parameters(&legs, usize::MAX));
        }
    }

    #[test]
    fn what_is_lost_is_what_was_cut() {
        for (legs, bond) in [(legs(&[4, 4], &[3, 5]), 5), (legs(&[2, 4, 3], &[3, 2, 4]), 4)] {
            let (rows, cols) = (legs.outputs.iter().product::<usize>(), legs.inputs.iter().product::<usize>());
            let weight = matrix(rows * cols);
            let found = train(&weight, &legs, Cut { bond, tolerance: 0.0 }).unwrap();
            let error = distance(&found.product(cols), &weight);
            assert!(error > 0.1 && (error - found.lost.0.sqrt()).abs() < 1e-12, "{error} {}", found.lost.0.sqrt());
            assert_eq!(found.parameters(), parameters(&legs, bond));
            let some = train(&weight, &legs, Cut { bond: usize::MAX, tolerance: 0.5 }).unwrap();
            let error = distance(&some.product(cols), &weight) / squares(&weight).sqrt();
            assert!(error <= 0.5 && error > 0.1 && some.kept < largest_bonds(&legs), "{error}");
        }
    }

    #[test]
    fn both_orders_give_the_same_matrix() {
        let legs = legs(&[2, 4, 3], &[3, 2, 4]);
        let weight = matrix(24 * 24);
        let value = |index: usize| weight[index % weight.len()];
        let core = |before, output, input, behind| Core {
            before,
            output,
            input,
            behind,
            values: (0..before * output * input * behind).map(value).collect(),
        };
        let cores = [core(1, 2, 3, 4), core(4, 4, 2, 3), core(3, 3, 4, 1)];
        let product = |factors| Factorisation { factors, ..Factorisation::default() }.product(24);
        let (there, back) = (product(forwards(&cores)), product(backwards(&cores)));
        assert!(squares(&there) > 1.0 && distance(&there, &back) < 1e-12);
        assert_ne!(products(&forwards(&cores), &legs), products(&backwards(&cores), &legs));
    }

    #[test]
    fn a_kronecker_product_is_two_cores_with_a_bond_of_one() {
        let (a, b) = (matrix(12), matrix(10));
        // a is 3 × 4, b is 2 × 5.
        let weight: Vec<f64> = (0..6 * 20)
            .map(|at| {
                let (row, col) = (at / 20, at % 20);
                a[row / 2 * 4 + col / 5] * b[row % 2 * 5 + col % 5]
            })
            .collect();
        let found = train(&weight, &legs(&[3, 2], &[4, 5]), Cut { bond: 1, tolerance: 0.0 }).unwrap();
        assert!(distance(&found.product(20), &weight) < 1e-12);
        assert_eq!(found.parameters(), 22);
    }
}
