//! Attention inside groups of neighbouring tokens, for training on long texts.

use candle_core::{Result, Tensor, bail};

use super::{AttentionShape, attention};

/// How tokens are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// Tokens of a group; even where half of the heads are shifted.
    pub size: usize,
    /// Whether the groups of the second half of the heads lie half a group further on. Their first and last are then half as long, and
    /// nothing is wrapped around, so no token sees a later one.
    pub shifted: bool,
}

/// Causal attention of whole sequences `q (batch, positions, heads · head_dim)` and `k`, `v (batch, positions, kv_heads · head_dim)` in
/// which a token sees its own group (S²-Attn; Chen et al., 2024).
///
/// # Errors
/// When shapes do not fit, groups do not divide the positions, heads cannot be halved, or scores have biases.
pub fn attention_in_groups(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    shape: &AttentionShape,
    groups: Groups,
) -> Result<Tensor> {
    let (_, positions, _) = q.dims3()?;
    let Groups { size, shifted } = groups;
    if size == 0 || !positions.is_multiple_of(size) || k.dim(1)? != positions {
        bail!("groups of {size} do not divide {positions} positions");
    }
    if shape.slopes.is_some() || shape.biases.is_some() {
        bail!("attention in groups knows no biases of scores");
    }
    if !shifted {
        return in_pieces([q, k, v], &[(0, positions, size)], shape);
    }
    if !size.is_multiple_of(2) || !shape.heads.is_multiple_of(2) || !shape.kv_heads.is_multiple_of(2) {
        bail!("{} heads over {} of keys in groups of {size} cannot be halved", shape.heads, shape.kv_heads);
    }
    let half = AttentionShape { heads: shape.heads / 2, kv_heads: shape.kv_heads / 2, ..shape.clone() };
    let of_half = |at: usize, pieces: &[(usize, usize, usize)]| {
        let part = |x: &Tensor| -> Result<Tensor> {
            let width = x.dim(2)? / 2;
            x.narrow(2, at * width, width)
        };
        in_pieces([&part(q)?, &part(k)?, &part(v)?], pieces, &half)
    };
    let mut ends = vec![(0, size / 2, size / 2), (positions - size / 2, size / 2, size / 2)];
    if positions > size {
        ends.insert(1, (size / 2, positions - size, size));
    }
    Tensor::cat(&[of_half(0, &[(0, positions, size)])?, of_half(1, &ends)?], 2)
}

/// Attention inside groups of stretches that follow each other: the first position, how many, and how many in a group.
fn in_pieces(inputs: [&Tensor; 3], pieces: &[(usize, usize, usize)], shape: &AttentionShape) -> Result<Tensor> {
    let of_piece = |&(first, count, size): &(usize, usize, usize)| {
        let grouped = |x: &Tensor| -> Result<Tensor> {
            let (batch, _, width) = x.dims3()?;
            x.narrow(1, first, count)?.contiguous()?.reshape((batch * (count / size), size, width))
        };
        let [q, k, v] = inputs;
        let (batch, _, width) = q.dims3()?;
        attention(&grouped(q)?, &grouped(k)?, &grouped(v)?, shape)?.reshape((batch, count, width))
    };
    Tensor::cat(&pieces.iter().map(of_piece).collect::<Result<Vec<_>>>()?, 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use candle_core::Var;

    use super::*;
    use crate::ops::attention_with_matrix;
    use crate::tensor::{from_values, with_values};

    const POSITIONS: usize = 16;

    fn variable(width: usize, seed: f32) -> Var {
        let values = (0..2 * POSITIONS * width).map(|at| (at as f32 * 0.37 + seed).sin()).collect();
        Var::from_tensor(&from_values(values, (2, POSITIONS, width)).unwrap()).unwrap()
    }

    fn shape(heads: usize, kv_heads: usize) -> AttentionShape {
        AttentionShape { heads, kv_heads, head_dim: 4, scale: 0.5, slopes: None, biases: None }
    }

    /// Infinitely little for what a head's token does not see.
    fn mask(heads: usize, Groups { size, shifted }: Groups) -> Tensor {
        let group = |head: usize, at: usize| (at + if shifted && head >= heads / 2 { size / 2 } else { 0 }) / size;
        let sees = |head, query, key| key <= query && group(head, query) == group(head, key);
        let of = |at: usize| {
            let (head, query, key) = (at / POSITIONS / POSITIONS, at / POSITIONS % POSITIONS, at % POSITIONS);
            if sees(head, query, key) { 0.0 } else { f32::NEG_INFINITY }
        };
        from_values((0..heads * POSITIONS * POSITIONS).map(of).collect(), (heads, POSITIONS, POSITIONS)).unwrap()
    }

    #[test]
    fn a_token_sees_its_group_and_nothing_after_it() {
        for (heads, kv_heads) in [(4, 4), (4, 2), (8, 2)] {
            let inputs = [variable(heads * 4, 0.1), variable(kv_heads * 4, 0.5), variable(kv_heads * 4, 0.9)];
            let [q, k, v] = &inputs;
            let shape = shape(heads, kv_heads);
            for groups in [(4, true), (4, false), (8, true), (2, true), (16, true), (16, false)] {
                let groups = Groups { size: groups.0, shifted: groups.1 };
                let found = attention_in_groups(q, k, v, &shape, groups).unwrap();
                let expected = attention_with_matrix(q, k, v, &mask(heads, groups), &shape).unwrap();
                let slopes = |of: &Tensor| of.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                let (ours, theirs) = (slopes(&found), slopes(&expected));
                let same = |a: &Tensor, b: &Tensor| {
                    let [a, b] = [a, b].map(|x| with_values(&x.contiguous().unwrap(), <[f32]>::to_vec).unwrap());
                    a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4)
                };
                assert!(same(&found, &expected), "{groups:?}");
                for input in &inputs {
                    assert!(same(ours.get(input).unwrap(), theirs.get(input).unwrap()), "gradients in {groups:?}");
                }
            }
        }
    }

    #[test]
    fn one_group_is_full_attention() {
        let (q, k, v) = (variable(16, 0.1), variable(16, 0.5), variable(16, 0.9));
        let groups = Groups { size: POSITIONS, shifted: false };
        let values = |x: Tensor| with_values(&x, <[f32]>::to_vec).unwrap();
        let found = values(attention_in_groups(&q, &k, &v, &shape(4, 4), groups).unwrap());
        assert_eq!(found, values(attention(&q, &k, &v, &shape(4, 4)).unwrap()));
    }

    #[test]
    fn what_cannot_be_grouped_is_refused() {
        let (q, k, v) = (variable(12, 0.1), variable(12, 0.5), variable(12, 0.9));
        let said = |groups| attention_in_groups(&q, &k, &v, &shape(3, 3), groups).unwrap_err().to_string();
        assert!(said(Groups { size: 5, shifted: false }).contains("groups of 5 do not divide 16 positions"));
        assert!(
            said(Groups { size: 4, shifted: true }).contains("3 heads over 3 of keys in groups of 4 cannot be halved")
        );
        let slopes = AttentionShape { slopes: Some(vec![0.5; 3].into()), ..shape(3, 3) };
        let groups = Groups { size: 4, shifted: false };
        assert!(attention_in_groups(&q, &k, &v, &slopes, groups).unwrap_err().to_string().contains("no biases"));
    }
}
