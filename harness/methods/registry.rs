//! Every method, one line each.
//!
//! A line names the file of the method and its module. The file has `spec() -> MethodSpec`, what is known of the
//! method, and `build(&Arm) -> Result<Method, ParameterError>`, which makes it.

use harness_core::nearest::nearest;
use harness_core::{Arm, Axis, MethodSpec, ParameterError};
use harness_kernels::cache::CacheFormat;

use crate::decode::Decode;
use crate::lowrank::LowRank;
use crate::merge::Merge;
use crate::position::Position;
use crate::prune::Pruner;
use crate::quant::Quantizer;
use crate::sample::Sampler;
use crate::shrink::Shrink;

register! {
    "merge/none.rs" base;
    "merge/task_arithmetic.rs" task_arithmetic;
    "merge/ties.rs" ties;
    "merge/dare.rs" dare;
    "merge/della.rs" della;
    "position/none.rs" checkpoint_positions;
    "position/rope.rs" rope;
    "position/linear.rs" linear;
    "position/dynamic_linear.rs" dynamic_linear;
    "position/ntk.rs" ntk;
    "position/dynamic_ntk.rs" dynamic_ntk;
    "position/by_parts.rs" by_parts;
    "position/yarn.rs" yarn;
    "position/llama3.rs" llama3;
    "position/longrope.rs" longrope;
    "position/longrope2.rs" longrope2;
    "position/giraffe_power.rs" giraffe_power;
    "position/giraffe_truncated.rs" giraffe_truncated;
    "position/clex.rs" clex;
    "position/log_n.rs" log_n;
    "position/sliding_window.rs" sliding_window;
    "position/streaming_llm.rs" streaming_llm;
    "position/lm_infinite.rs" lm_infinite;
    "position/unlimiformer.rs" unlimiformer;
    "position/self_extend.rs" self_extend;
    "position/rerope.rs" rerope;
    "position/dual_chunk.rs" dual_chunk;
    "shrink/none.rs" all_blocks;
    "shrink/drop_last.rs" drop_last;
    "shrink/random_blocks.rs" random_blocks;
    "shrink/block_influence.rs" block_influence;
    "shrink/shortened_llama.rs" shortened_llama;
    "shrink/laco.rs" laco;
    "shrink/l3prune.rs" l3prune;
    "shrink/random_width.rs" random_width;
    "shrink/magnitude_width.rs" magnitude_width;
    "shrink/wanda_width.rs" wanda_width;
    "shrink/flap.rs" flap;
    "shrink/llm_pruner.rs" llm_pruner;
    "shrink/head_importance.rs" head_importance;
    "shrink/darwinlm.rs" darwinlm;
    "shrink/dress.rs" dress;
    "shrink/slicegpt.rs" slicegpt;
    "shrink/upscale.rs" upscale;
    "lowrank/none.rs" whole_matrices;
    "lowrank/svd.rs" svd;
    "lowrank/fwsvd.rs" fwsvd;
    "lowrank/asvd.rs" asvd;
    "lowrank/svd_llm.rs" svd_llm;
    "lowrank/curing.rs" curing;
    "lowrank/compactifai.rs" compactifai;
    "lowrank/remainder.rs" remainder;
    "prune/none.rs" none;
    "prune/random.rs" random;
    "prune/magnitude.rs" magnitude;
    "prune/wanda.rs" wanda;
    "prune/sparsegpt.rs" sparsegpt;
    "prune/obd.rs" obd;
    "prune/obs.rs" obs;
    "prune/obert.rs" obert;
    "prune/net_trim.rs" net_trim;
    "prune/alps.rs" alps;
    "prune/budget.rs" budget;
    "prune/one_block.rs" one_block;
    "prune/shuffled_mask.rs" shuffled_mask;
    "quant/none.rs" no_quantization;
    "quant/rtn.rs" rtn;
    "quant/nf4.rs" nf4;
    "quant/fp4.rs" fp4;
    "quant/af4.rs" af4;
    "quant/kbit.rs" kbit;
    "quant/gptq.rs" gptq;
    "quant/awq.rs" awq;
    "quant/smoothquant.rs" smoothquant;
    "quant/llm_int8.rs" llm_int8;
    "quant/flattenquant.rs" flattenquant;
    "quant/rht.rs" rht;
    "quant/hqq.rs" hqq;
    "quant/q4_0.rs" q4_0;
    "quant/q4_1.rs" q4_1;
    "quant/q5_0.rs" q5_0;
    "quant/q5_1.rs" q5_1;
    "quant/q8_0.rs" q8_0;
    "quant/q2_k.rs" q2_k;
    "quant/q3_k.rs" q3_k;
    "quant/q4_k.rs" q4_k;
    "quant/q5_k.rs" q5_k;
    "quant/q6_k.rs" q6_k;
    "quant/mxfp4.rs" mxfp4;
    "quant/nvfp4.rs" nvfp4;
    "quant/fp8.rs" fp8;
    "quant/mixed.rs" mixed;
    "cache/none.rs" full_cache;
    "cache/kivi.rs" kivi;
    "cache/h2o.rs" h2o;
    "cache/snapkv.rs" snapkv;
    "sample/greedy.rs" greedy;
    "sample/temperature.rs" temperature;
    "sample/dynamic_temperature.rs" dynamic_temperature;
    "sample/top_k.rs" top_k;
    "sample/top_p.rs" top_p;
    "sample/min_p.rs" min_p;
    "sample/epsilon.rs" epsilon;
    "sample/eta.rs" eta;
    "sample/bat.rs" bat;
    "sample/ba_eta.rs" ba_eta;
    "sample/ba_epsilon.rs" ba_epsilon;
    "sample/ba_nucleus.rs" ba_nucleus;
    "sample/typical.rs" typical;
    "sample/top_a.rs" top_a;
    "sample/tail_free.rs" tail_free;
    "sample/top_n_sigma.rs" top_n_sigma;
    "sample/p_less.rs" p_less;
    "sample/top_h.rs" top_h;
    "sample/mirostat.rs" mirostat;
    "sample/xtc.rs" xtc;
    "sample/dry.rs" dry;
    "sample/repetition_penalty.rs" repetition_penalty;
    "sample/frequency_penalty.rs" frequency_penalty;
    "sample/presence_penalty.rs" presence_penalty;
    "sample/no_repeat_ngram.rs" no_repeat_ngram;
    "sample/logit_bias.rs" logit_bias;
    "sample/matched.rs" matched;
    "decode/beam.rs" beam;
    "decode/diverse_beam.rs" diverse_beam;
    "decode/best_first_beam.rs" best_first_beam;
    "decode/contrastive_search.rs" contrastive_search;
    "decode/contrastive_decoding.rs" contrastive_decoding;
    "decode/speculative.rs" speculative;
    "decode/cfg.rs" cfg;
}

/// How the registry knows a method.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The method's file, from the crate's folder.
    pub file: &'static str,
    /// What is known of it.
    pub spec: fn() -> MethodSpec,
    /// Makes it from an arm with its id.
    pub build: fn(&Arm) -> Result<Method, ParameterError>,
}

/// A method ready to be applied, by what it does.
pub enum Method {
    /// Adds what other models learned.
    Merge(Box<dyn Merge>),
    /// Rewrites rotary frequencies.
    Position(Box<dyn Position>),
    /// Makes a model of fewer blocks.
    Shrink(Box<dyn Shrink>),
    /// Holds linear maps as factors.
    LowRank(Box<dyn LowRank>),
    /// Prunes linear maps.
    Pruner(Box<dyn Pruner>),
    /// Quantizes linear maps.
    Quantizer(Box<dyn Quantizer>),
    /// Says what keys and values are kept as.
    Cache(CacheFormat),
    /// Changes or removes candidates for the next token.
    Sampler(Box<dyn Sampler>),
    /// A chain whose strength has yet to be found on calibration text.
    Matched(matched::Matched),
    /// Decodes whole sequences.
    Decoder(Box<dyn Decode>),
}

/// Why no method could be made of an arm.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BuildError {
    /// The axis has no such method.
    #[error("`{id}` is not a {axis} method{}", nearest.map_or_else(String::new, |n| format!("; did you mean `{n}`?")))]
    Unknown {
        /// The axis.
        axis: Axis,
        /// The id given.
        id: String,
        /// The most similar id on the axis.
        nearest: Option<&'static str>,
    },
    /// No stage by itself.
    #[error("`{arm}` is found on calibration text; it can only be a whole arm of a sampling bench")]
    NoStage {
        /// The arm as it is printed.
        arm: String,
    },
    /// A decoder where a sampler has to stand.
    #[error("`{arm}` is a decoder, which calls the model itself; it can only stand first in a chain that has a model")]
    Decoder {
        /// The arm as it is printed.
        arm: String,
    },
    /// Its parameters do not fit.
    #[error("{arm}: {source}")]
    Parameters {
        /// The arm as it is printed.
        arm: String,
        /// What does not fit.
        source: ParameterError,
    },
}

/// What is known of every method, in registry order.
pub fn methods() -> Vec<MethodSpec> {
    ENTRIES.iter().map(|entry| (entry.spec)()).collect()
}

/// Makes the method an arm names.
///
/// # Errors
/// [`BuildError::Unknown`] when the axis has no such method, [`BuildError::Parameters`] when its parameters do not fit.
pub fn build(axis: Axis, arm: &Arm) -> Result<Method, BuildError> {
    let on_axis = || ENTRIES.iter().map(|entry| (entry, (entry.spec)())).filter(|(_, spec)| spec.axis == axis);
    let Some((entry, _)) = on_axis().find(|(_, spec)| spec.id == arm.id) else {
        let nearest = nearest(&arm.id, on_axis().map(|(_, spec)| spec.id));
        return Err(BuildError::Unknown { axis, id: arm.id.clone(), nearest });
    };
    (entry.build)(arm).map_err(|source| BuildError::Parameters { arm: arm.to_string(), source })
}

/// The method an arm names that merges experts.
///
/// # Errors
/// As [`build`].
pub fn merge(arm: &Arm) -> Result<Box<dyn Merge>, BuildError> {
    match build(Axis::Merge, arm)? {
        Method::Merge(method) => Ok(method),
        _ => Err(BuildError::Unknown { axis: Axis::Merge, id: arm.id.clone(), nearest: None }),
    }
}

/// The position method an arm names.
///
/// # Errors
/// As [`build`].
pub fn position(arm: &Arm) -> Result<Box<dyn Position>, BuildError> {
    match build(Axis::Position, arm)? {
        Method::Position(position) => Ok(position),
        _ => Err(BuildError::Unknown { axis: Axis::Position, id: arm.id.clone(), nearest: None }),
    }
}

/// The method an arm names that makes a model of fewer or narrower blocks.
///
/// # Errors
/// As [`build`].
pub fn shrink(arm: &Arm) -> Result<Box<dyn Shrink>, BuildError> {
    match build(Axis::Shrink, arm)? {
        Method::Shrink(method) => Ok(method),
        _ => Err(BuildError::Unknown { axis: Axis::Shrink, id: arm.id.clone(), nearest: None }),
    }
}

/// The low-rank method an arm names.
///
/// # Errors
/// As [`build`].
pub fn lowrank(arm: &Arm) -> Result<Box<dyn LowRank>, BuildError> {
    match build(Axis::Lowrank, arm)? {
        Method::LowRank(method) => Ok(method),
        _ => Err(BuildError::Unknown { axis: Axis::Lowrank, id: arm.id.clone(), nearest: None }),
    }
}

/// The pruning method an arm names.
///
/// # Errors
/// As [`build`].
pub fn pruner(arm: &Arm) -> Result<Box<dyn Pruner>, BuildError> {
    match build(Axis::Prune, arm)? {
        Method::Pruner(pruner) => Ok(pruner),
        _ => Err(BuildError::Unknown { axis: Axis::Prune, id: arm.id.clone(), nearest: None }),
    }
}

/// The quantization method an arm names.
///
/// # Errors
/// As [`build`].
pub fn quantizer(arm: &Arm) -> Result<Box<dyn Quantizer>, BuildError> {
    match build(Axis::Quant, arm)? {
        Method::Quantizer(quantizer) => Ok(quantizer),
        _ => Err(BuildError::Unknown { axis: Axis::Quant, id: arm.id.clone(), nearest: None }),
    }
}

/// What an arm keeps keys and values as.
///
/// # Errors
/// As [`build`].
pub fn cache(arm: &Arm) -> Result<CacheFormat, BuildError> {
    match build(Axis::Cache, arm)? {
        Method::Cache(format) => Ok(format),
        _ => Err(BuildError::Unknown { axis: Axis::Cache, id: arm.id.clone(), nearest: None }),
    }
}

/// The sampler an arm names.
///
/// # Errors
/// As [`build`], and [`BuildError::Decoder`] for a decoder.
pub fn sampler(arm: &Arm) -> Result<Box<dyn Sampler>, BuildError> {
    match build(Axis::Sampler, arm)? {
        Method::Sampler(sampler) => Ok(sampler),
        Method::Matched(_) => Err(BuildError::NoStage { arm: arm.to_string() }),
        Method::Decoder(_) => Err(BuildError::Decoder { arm: arm.to_string() }),
        Method::Merge(_)
        | Method::Position(_)
        | Method::Shrink(_)
        | Method::LowRank(_)
        | Method::Pruner(_)
        | Method::Quantizer(_)
        | Method::Cache(_) => Err(BuildError::Unknown { axis: Axis::Sampler, id: arm.id.clone(), nearest: None }),
    }
}

/// The versions of all methods but that of one file, added up: the version of a method that wraps any other, because
/// its results change whenever theirs do.
pub(crate) fn versions_except(file: &str) -> u32 {
    ENTRIES.iter().filter(|entry| entry.file != file).map(|entry| (entry.spec)().version).sum()
}

/// The versions of all methods below a folder but that of one file, added up.
pub(crate) fn versions_of(folder: &str, except: &str) -> u32 {
    let wanted = |entry: &&Entry| entry.file.starts_with(folder) && entry.file != except;
    ENTRIES.iter().filter(wanted).map(|entry| (entry.spec)().version).sum()
}

/// Declares the module and the entry of every method.
macro_rules! register {
    ($( $file:literal $module:ident; )*) => {
        $( #[path = $file] pub mod $module; )*

        /// Every method, in the order they are listed.
        pub const ENTRIES: &[Entry] = &[$( Entry { file: $file, spec: $module::spec, build: $module::build } ),*];
    };
}
use register;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_well_formed() {
        let mut seen = BTreeSet::new();
        for spec in methods() {
            assert!(seen.insert((spec.axis, spec.id)), "{} is registered twice", spec.id);
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
            assert!(spec.id.chars().all(fits), "{}", spec.id);
        }
    }

    #[test]
    fn every_method_and_parameter_is_described() {
        for spec in methods() {
            assert!(spec.about.len() > 20 && !spec.source.is_empty() && spec.version > 0, "{}", spec.id);
            for parameter in spec.parameters {
                assert!(parameter.about.ends_with('.'), "{}: {}", spec.id, parameter.name);
            }
        }
    }

    #[test]
    fn defaults_build_and_pass_their_own_check() {
        for spec in methods() {
            let arm = Arm::new(spec.id);
            assert!(spec.resolve(&arm).is_ok(), "{}", spec.id);
            assert!(build(spec.axis, &arm).is_ok(), "{}", spec.id);
        }
    }

    #[test]
    fn what_a_method_needs_is_what_its_specification_says() {
        for spec in methods() {
            let needs = match build(spec.axis, &Arm::new(spec.id)).unwrap() {
                Method::Shrink(method) => method.needs_text(),
                Method::LowRank(method) => method.needs_text(),
                Method::Pruner(pruner) => {
                    pruner.needs().any() || pruner.needs_gradients() || pruner.outliers().is_some()
                }
                Method::Quantizer(quantizer) => quantizer.needs().any(),
                Method::Position(method) => method.search().is_some(),
                Method::Merge(_) | Method::Sampler(_) | Method::Decoder(_) | Method::Cache(_) => false,
                Method::Matched(_) => true,
            };
            assert_eq!(needs, spec.calibrated, "{}", spec.id);
        }
    }

    #[test]
    fn a_method_is_a_file_of_under_two_hundred_lines_that_says_what_it_is() {
        for entry in ENTRIES {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(entry.file);
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text.starts_with("//! ") && text.contains("# Difference"), "{}", entry.file);
            assert!(text.lines().count() < 200, "{} has {} lines", entry.file, text.lines().count());
        }
    }

    #[test]
    fn a_mistyped_method_is_answered_with_the_nearest() {
        let error = build(Axis::Prune, &Arm::new("wnda")).err().unwrap();
        assert_eq!(error.to_string(), "`wnda` is not a prune method; did you mean `wanda`?");
        let error = build(Axis::Prune, &"wanda(sparsity=1.5)".parse().unwrap()).err().unwrap();
        assert_eq!(error.to_string(), "wanda(sparsity=1.5): `sparsity = 1.5` is outside its range [0, 1)");
    }
}
