//! Linear maps held as a product of smaller ones, which is multiplied factor by factor and never written out.

use std::sync::Arc;

use candle_core::{Result, Tensor};
use harness_kernels::add_bias;

use crate::error::ModelError;
use crate::linear::{Dense, LinearOp, output_dims};
use crate::tensor::{from_values, with_values};
use crate::weight::Weight;

/// One factor. Of a state `(outer, factor.cols(), width)` it makes `(outer, factor.rows(), width)`.
#[derive(Debug, Clone)]
pub struct Step {
    /// The factor, without a bias.
    pub map: Arc<dyn LinearOp>,
    /// Consecutive numbers that take part alike: 1 in a product of matrices, more in a tensor train.
    pub width: usize,
}

/// A map `(rows, cols)` as factors, the first of which reads the inputs. Cloning shares the factors.
#[derive(Debug, Clone)]
pub struct Factored {
    steps: Vec<Step>,
    rows: usize,
    cols: usize,
    bias: Option<Arc<[f32]>>,
    /// A map `(rows, cols)` without a bias that is added to what the factors make.
    remainder: Option<Arc<dyn LinearOp>>,
}

impl Factored {
    /// A map `(rows, cols)` with an optional bias of `rows` values.
    ///
    /// # Errors
    /// [`ModelError::Factored`] when the factors do not make `rows` outputs of `cols` inputs, or the bias has another length.
    pub fn new(
        steps: Vec<Step>,
        (rows, cols): (usize, usize),
        bias: Option<Arc<[f32]>>,
    ) -> std::result::Result<Self, ModelError> {
        let refused = |why: String| Err(ModelError::Factored { rows, cols, why });
        let mut length = cols;
        for (at, Step { map, width }) in steps.iter().enumerate() {
            let taken = map.cols() * width;
            if taken == 0 || !length.is_multiple_of(taken) {
                return refused(format!("factor {at} takes {} x {width} of {length} numbers", map.cols()));
            }
            length = length / map.cols() * map.rows();
        }
        if steps.is_empty() || length != rows {
            return refused(format!("{} factors make {length} outputs", steps.len()));
        }
        match bias.as_ref().map(|bias| bias.len()) {
            Some(found) if found != rows => refused(format!("the bias has {found} values")),
            _ => Ok(Self { steps, rows, cols, bias, remainder: None }),
        }
    }

    /// The factors, in the order they are applied to inputs.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// With a map of the same size, without a bias, that is added to what the factors make.
    ///
    /// # Errors
    /// [`ModelError::Factored`] for a map of another size.
    pub fn with_remainder(self, remainder: Arc<dyn LinearOp>) -> std::result::Result<Self, ModelError> {
        let (rows, cols) = (self.rows, self.cols);
        if (remainder.rows(), remainder.cols()) != (rows, cols) {
            let why = format!("the remainder is {}x{}", remainder.rows(), remainder.cols());
            return Err(ModelError::Factored { rows, cols, why });
        }
        Ok(Self { remainder: Some(remainder), ..self })
    }

    /// What is added to what the factors make.
    pub fn remainder(&self) -> Option<&Arc<dyn LinearOp>> {
        self.remainder.as_ref()
    }

    /// With each factor replaced by what `change` makes of it; bias and remainder stay.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_maps(
        &self,
        mut change: impl FnMut(usize, &Arc<dyn LinearOp>) -> Arc<dyn LinearOp>,
    ) -> std::result::Result<Self, ModelError> {
        let steps = self.steps.iter().enumerate();
        let steps = steps.map(|(at, step)| Step { map: change(at, &step.map), width: step.width }).collect();
        let changed = Self::new(steps, (self.rows, self.cols), self.bias.clone())?;
        self.remainder.iter().cloned().try_fold(changed, Self::with_remainder)
    }

    /// Multiplications that one token takes.
    pub fn products(&self) -> usize {
        let mut length = self.cols;
        let each = self.steps.iter().map(|Step { map, .. }| {
            let applied = length / map.cols();
            length = applied * map.rows();
            applied * map.cols() * map.rows()
        });
        each.sum::<usize>() + self.remainder.as_ref().map_or(0, |_| self.rows * self.cols)
    }

    /// The factors, and the remainder where there is one.
    fn held(&self) -> impl Iterator<Item = &Arc<dyn LinearOp>> {
        self.steps.iter().map(|step| &step.map).chain(&self.remainder)
    }

    fn multiply(&self, x: &Tensor) -> Result<Tensor> {
        let mut state = x.clone();
        for Step { map, width } in &self.steps {
            let (inner, width) = (map.cols(), *width);
            let outer = state.elem_count() / (inner * width);
            let rows = if width == 1 { state.reshape((outer, inner))? } else { turned(&state, outer, inner, width)? };
            let made = map.forward(&rows)?;
            state = if width == 1 { made } else { turned(&made, outer, width, map.rows())? };
        }
        Ok(state)
    }
}

/// `(outer, a, b)` as `(outer · b, a)`.
fn turned(values: &Tensor, outer: usize, a: usize, b: usize) -> Result<Tensor> {
    let turned = with_values(values, |values| {
        let mut turned = Vec::with_capacity(values.len());
        for part in values.chunks_exact(a * b) {
            turned.extend((0..b).flat_map(|column| part[column..].iter().step_by(b)));
        }
        turned
    })?;
    from_values(turned, (outer * b, a))
}

impl LinearOp for Factored {
    fn rows(&self) -> usize {
        self.rows
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let dims = output_dims(x, self.rows, self.cols)?;
        let mut product = self.multiply(x)?;
        if let Some(remainder) = &self.remainder {
            product = (remainder.forward(x)?.reshape(product.shape())? + product)?;
        }
        match &self.bias {
            None => product.reshape(dims),
            Some(bias) => {
                let mut values = with_values(&product, <[f32]>::to_vec)?;
                add_bias(&mut values, bias);
                from_values(values, dims)
            }
        }
    }

    /// The product, with inputs in full precision whatever the factors round theirs to; NaN where a factor refuses, so that it
    /// shows.
    fn weight(&self) -> Weight {
        let plain = self.with_maps(|_, map| Arc::new(Dense::new(map.weight(), None)));
        let mut units = vec![0.0; self.cols * self.cols];
        units.iter_mut().step_by(self.cols + 1).for_each(|one| *one = 1.0);
        let columns = plain.map_err(candle_core::Error::wrap).and_then(|plain| {
            let product = plain.multiply(&from_values(units, (self.cols, self.cols))?)?;
            with_values(&turned(&product, 1, self.cols, self.rows)?, <[f32]>::to_vec)
        });
        let mut values = columns.unwrap_or_else(|_| vec![f32::NAN; self.rows * self.cols]);
        if let Some(remainder) = &self.remainder {
            values.iter_mut().zip(remainder.weight().to_f32()).for_each(|(value, rest)| *value += rest);
        }
        Weight::from_f32(self.rows, self.cols, values)
    }

    fn bias(&self) -> Option<Arc<[f32]>> {
        self.bias.clone()
    }

    fn stored_bytes(&self) -> usize {
        self.held().map(|map| map.stored_bytes()).sum()
    }

    fn parameters(&self) -> usize {
        self.held().map(|map| map.parameters()).sum()
    }

    fn factored(&self) -> Option<&Factored> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::bfloat16::Bf16;

    fn matrix(rows: usize, cols: usize, seed: f32) -> Vec<f32> {
        (0..rows * cols).map(|i| (i as f32 * 0.37 + seed).sin()).collect()
    }

    fn step(rows: usize, cols: usize, seed: f32, width: usize) -> Step {
        Step { map: Arc::new(Dense::new(Weight::from_f32(rows, cols, matrix(rows, cols, seed)), None)), width }
    }

    fn read(t: &Tensor) -> Vec<f32> {
        with_values(t, <[f32]>::to_vec).unwrap()
    }

    #[test]
    fn two_factors_are_their_product() {
        let (rows, cols, rank) = (9, 14, 3);
        let bias: Arc<[f32]> = (0..rows).map(|i| i as f32).collect();
        let map =
            Factored::new(vec![step(rank, cols, 0.1, 1), step(rows, rank, 0.7, 1)], (rows, cols), Some(bias)).unwrap();
        let (b, a) = (matrix(rank, cols, 0.1), matrix(rows, rank, 0.7));
        let product: Vec<f32> = (0..rows * cols)
            .map(|at| (0..rank).map(|k| a[at / cols * rank + k] * b[k * cols + at % cols]).sum())
            .collect();
        let weight = map.weight().to_f32();
        assert!(weight.iter().zip(&product).all(|(a, b)| (a - b).abs() < 1e-5));
        for m in [1, 5, 20] {
            let x: Vec<f32> = (0..m * cols).map(|i| (i as f32 * 0.11).cos()).collect();
            let found = map.forward(&from_values(x.clone(), (1, m, cols)).unwrap()).unwrap();
            assert_eq!(found.dims(), [1, m, rows]);
            for (at, value) in read(&found).iter().enumerate() {
                let (token, row) = (at / rows, at % rows);
                let exact: f32 = (0..cols).map(|k| product[row * cols + k] * x[token * cols + k]).sum();
                assert!((value - exact - row as f32).abs() < 1e-4);
            }
        }
        assert_eq!((map.parameters(), map.products()), (rank * (rows + cols), rank * (rows + cols)));
        assert_eq!(map.stored_bytes(), 4 * rank * (rows + cols));
    }

    #[test]
    fn a_train_of_two_cores_is_its_matrix() {
        // Inputs (i1, i2), outputs (o1, o2), bond 2: first (o1, bond) of i1 for each i2, then o2 of (bond, i2) for each o1.
        let (i1, i2, o1, o2, bond) = (3, 4, 2, 5, 2);
        let (first, second) = (matrix(o1 * bond, i1, 0.3), matrix(o2, bond * i2, 0.9));
        let steps = vec![step(o1 * bond, i1, 0.3, i2), step(o2, bond * i2, 0.9, 1)];
        let map = Factored::new(steps, (o1 * o2, i1 * i2), None).unwrap();
        let weight = map.weight().to_f32();
        for (at, value) in weight.iter().enumerate() {
            let (row, column) = (at / (i1 * i2), at % (i1 * i2));
            let exact: f32 = (0..bond)
                .map(|k| {
                    first[((row / o2) * bond + k) * i1 + column / i2]
                        * second[(row % o2) * bond * i2 + k * i2 + column % i2]
                })
                .sum();
            assert!((value - exact).abs() < 1e-5, "{row} {column}");
        }
        let x: Vec<f32> = (0..6 * i1 * i2).map(|i| (i as f32 * 0.2).cos()).collect();
        let x = from_values(x, (6, i1 * i2)).unwrap();
        let dense = Dense::new(map.weight(), None);
        for (a, b) in read(&map.forward(&x).unwrap()).iter().zip(read(&dense.forward(&x).unwrap())) {
            assert!((a - b).abs() < 1e-4);
        }
        // i2 times the first factor and o1 times the second.
        assert_eq!(map.products(), i2 * o1 * bond * i1 + o1 * o2 * bond * i2);
    }

    #[test]
    fn factors_may_be_held_otherwise() {
        let map = Factored::new(vec![step(16, 32, 0.1, 1), step(24, 16, 0.7, 1)], (24, 32), None).unwrap();
        let brain = map.with_maps(|_, map| Arc::new(Bf16::of(map.as_ref()))).unwrap();
        assert_eq!(brain.parameters(), map.parameters());
        assert!(brain.stored_bytes() < map.stored_bytes());
        let difference =
            map.weight().to_f32().iter().zip(brain.weight().to_f32()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        // Sixteen products of magnitudes of at most one, each of whose factors is off by 2^-9 at most.
        assert!(difference > 0.0 && difference < 16.0 * 2.0 / 512.0, "{difference}");
    }

    #[test]
    fn a_remainder_is_added() {
        let bias: Arc<[f32]> = (0..24).map(|i| i as f32).collect();
        let steps = vec![step(5, 32, 0.1, 1), step(24, 5, 0.7, 1)];
        let map = Factored::new(steps, (24, 32), Some(bias)).unwrap();
        let rest: Arc<dyn LinearOp> = Arc::new(Dense::new(Weight::from_f32(24, 32, matrix(24, 32, 0.4)), None));
        let whole = map.clone().with_remainder(Arc::clone(&rest)).unwrap();
        let x = from_values((0..3 * 32).map(|i| (i as f32 * 0.3).cos()).collect(), (1, 3, 32)).unwrap();
        let [found, factors, added] =
            [&whole, &map, rest.as_ref() as &dyn LinearOp].map(|map| read(&map.forward(&x).unwrap()));
        assert!(found.iter().zip(factors.iter().zip(&added)).all(|(sum, (a, b))| (sum - a - b).abs() < 1e-4));
        let dense = read(&Dense::new(whole.weight(), whole.bias()).forward(&x).unwrap());
        assert!(found.iter().zip(&dense).all(|(a, b)| (a - b).abs() < 1e-4));
        assert_eq!(whole.parameters(), map.parameters() + 24 * 32);
        assert_eq!(
            (whole.stored_bytes(), whole.products()),
            (map.stored_bytes() + 4 * 24 * 32, map.products() + 24 * 32)
        );
        let same = whole.with_maps(|_, map| Arc::clone(map)).unwrap();
        assert_eq!(read(&same.forward(&x).unwrap()), found);
        let other = Arc::new(Dense::new(Weight::from_f32(24, 31, matrix(24, 31, 0.4)), None));
        assert_eq!(
            map.with_remainder(other).unwrap_err().to_string(),
            "a 24x32 map cannot be held as factors: the remainder is 24x31"
        );
    }

    #[test]
    fn factors_that_do_not_fit_are_refused() {
        let error = Factored::new(vec![step(3, 4, 0.1, 1)], (3, 5), None).unwrap_err();
        assert_eq!(error.to_string(), "a 3x5 map cannot be held as factors: factor 0 takes 4 x 1 of 5 numbers");
        assert!(Factored::new(vec![step(3, 5, 0.1, 1), step(2, 3, 0.1, 1)], (3, 5), None).is_err());
        assert!(Factored::new(Vec::new(), (3, 5), None).is_err());
        let bias: Arc<[f32]> = vec![0.0; 2].into();
        assert!(Factored::new(vec![step(3, 5, 0.1, 1)], (3, 5), Some(bias)).is_err());
        let map = Factored::new(vec![step(3, 5, 0.1, 1)], (3, 5), None).unwrap();
        assert!(map.forward(&from_values(vec![0.0; 8], (2, 4)).unwrap()).is_err());
    }
}
