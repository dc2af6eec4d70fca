//! What holds of methods that remove heads and channels, on random numbers.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::ShrinkError;
use super::golden_tests::applied;
use super::tables::Table;
use crate::block::Map;
use crate::registry::upscale::lamp;
use crate::width::reorder::copies;
use crate::width::units::{Inner, Narrow};

const BLOCKS: usize = 3;
const HIDDEN: usize = 6;
const INNER: Inner = Inner { groups: 4, shared: 2, head_dim: 2, channels: 9, gated: true };

/// Outputs and inputs of each map.
fn shapes() -> [(usize, usize); 7] {
    let (queries, keys, inner) = (16, 8, 9);
    [
        (queries, HIDDEN),
        (keys, HIDDEN),
        (keys, HIDDEN),
        (HIDDEN, queries),
        (inner, HIDDEN),
        (inner, HIDDEN),
        (HIDDEN, inner),
    ]
}

fn numbers(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as f32 / (1u64 << 30) as f32 - 1.0) * 2.0
    }
}

/// Random matrices, gradients of three windows and 60 inputs.
fn table(seed: u64) -> Table {
    let mut next = numbers(seed);
    let mut block = || shapes().map(|(rows, cols)| (0..rows * cols).map(|_| next()).collect::<Vec<f32>>());
    let maps = (0..BLOCKS).map(|_| block()).collect();
    let map_gradients = (0..3).map(|_| (0..BLOCKS).map(|_| block()).collect()).collect();
    let inputs = (0..BLOCKS).map(|_| [16, 9].map(|cols| (0..60 * cols).map(|_| next()).collect())).collect();
    Table {
        width: HIDDEN,
        weights: vec![vec![]; BLOCKS],
        inner: INNER,
        maps,
        map_gradients,
        inputs,
        ..Table::default()
    }
}

fn widths(arm: &str, table: &Table) -> Vec<Narrow> {
    applied(arm, table).unwrap().widths
}

const BY_BLOCK: [&str; 6] = [
    "random-width(heads=H, channels=C)",
    "magnitude-width(heads=H, channels=C)",
    "wanda-width(heads=H, channels=C)",
    "llm-pruner(heads=H, channels=C, skip_first=0, skip_last=0)",
    "llm-pruner(heads=H, channels=C, skip_first=0, skip_last=0, criterion=second, reduction=max)",
    "llm-pruner(heads=H, channels=C, skip_first=0, skip_last=0, criterion=vectorize, reduction=product)",
];

fn with(arm: &str, groups: usize, channels: usize) -> String {
    arm.replace('H', &(2 * groups).to_string()).replace('C', &channels.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn exactly_as_many_go_of_every_block_and_fewer_are_among_more(seed in any::<u64>(), groups in 0usize..3, channels in 0usize..8) {
        let table = table(seed);
        for arm in BY_BLOCK {
            let few = widths(&with(arm, groups, channels), &table);
            let many = widths(&with(arm, groups + 1, channels + 1), &table);
            prop_assert_eq!(few.len(), BLOCKS);
            for (few, many) in few.iter().zip(&many) {
                prop_assert_eq!((few.groups.len(), few.channels.len()), (4 - groups, 9 - channels), "{}", arm);
                prop_assert!(many.groups.iter().all(|group| few.groups.contains(group)), "{}", arm);
                prop_assert!(many.channels.iter().all(|channel| few.channels.contains(channel)), "{}", arm);
            }
        }
    }

    #[test]
    fn one_threshold_removes_at_least_the_share_and_leaves_the_best(seed in any::<u64>(), share in 0.0f64..0.6) {
        let table = table(seed);
        let (group, channel) = INNER.costs(HIDDEN);
        let whole = BLOCKS as u64 * (4 * group + 9 * channel);
        let found = widths(&format!("flap(ratio={share})"), &table);
        let left: u64 = found.iter().map(|n| n.groups.len() as u64 * group + n.channels.len() as u64 * channel).sum();
        let floor = BLOCKS as u64 * (group + channel);
        prop_assert!(left <= (((1.0 - share) * whole as f64) as u64 + 1).max(floor));
        prop_assert!(found.iter().all(|narrow| !narrow.groups.is_empty() && !narrow.channels.is_empty()));
        for manner in ["al-mm", "ul-um"] {
            let found = widths(&format!("flap(ratio={share}, manner={manner})"), &table);
            prop_assert!(found.iter().all(|narrow| !narrow.groups.is_empty() && !narrow.channels.is_empty()));
            if manner == "ul-um" {
                prop_assert!(found.iter().all(|n| n.groups.len() == 4 - (share * 4.0) as usize && n.channels.len() == 9 - (share * 9.0) as usize));
            }
        }
    }

    #[test]
    fn the_sizes_of_inputs_and_gradients_change_no_choice(seed in any::<u64>(), factor in prop::sample::select(vec![0.125f32, 0.5, 4.0, 32.0])) {
        let table = table(seed);
        let mut scaled = table.clone();
        scaled.inputs.iter_mut().flatten().flatten().for_each(|value| *value *= factor);
        scaled.map_gradients.iter_mut().flatten().flatten().flatten().for_each(|value| *value *= factor);
        for arm in ["wanda-width(ratio=0.5)", "flap(ratio=0.5)", "llm-pruner(ratio=0.5, skip_first=0, skip_last=0)"] {
            let places = |table: &Table| widths(arm, table).into_iter().map(|n| (n.groups, n.channels)).collect::<Vec<_>>();
            prop_assert_eq!(places(&table), places(&scaled), "{}", arm);
        }
    }

    #[test]
    fn what_a_search_removes_together_never_changes(seed in any::<u64>(), ratio in prop::sample::select(vec![0.0, 0.25, 0.5, 0.75])) {
        let table = table(seed);
        let arm = format!("darwinlm(ratio={ratio}, levels=9, generations=6, offspring=4, stages=2, damp=0.1)");
        let found = widths(&arm, &table);
        let begin = widths(&format!("darwinlm(ratio={ratio}, levels=9, generations=0, damp=0.1)"), &table);
        let sums = |widths: &[Narrow]| widths.iter().fold((0, 0), |sum, n| (sum.0 + n.groups.len(), sum.1 + n.channels.len()));
        prop_assert_eq!(sums(&found), sums(&begin));
        let levels = |units: usize| BLOCKS * (units - (ratio * units as f64) as usize);
        prop_assert_eq!(sums(&begin), (levels(4), levels(9)));
        for (block, narrow) in found.iter().enumerate() {
            // Nothing is fitted where nothing goes, and what goes is zero.
            prop_assert_eq!(narrow.down.weight.is_none(), narrow.channels.len() == 9);
            if let Some(weight) = &narrow.down.weight {
                let gone = (0..9).filter(|channel| !narrow.channels.contains(channel));
                for channel in gone {
                    prop_assert!(weight.iter().skip(channel).step_by(9).all(|value| *value == 0.0));
                }
                prop_assert!(weight[..] != table.maps[block][Map::Down as usize][..]);
            }
        }
        prop_assert_eq!(&widths(&arm, &table), &found);
    }
}

#[test]
fn a_constant_channel_costs_nothing_and_stays_as_a_bias() {
    let mut table = table(7);
    // Channel 4 of block 1 is five wherever it is looked at.
    table.inputs[1][1].iter_mut().skip(4).step_by(9).for_each(|value| *value = 5.0);
    let found = widths("flap(ratio=0.12, manner=ul-um)", &table);
    assert_eq!(found[1].channels, [0, 1, 2, 3, 5, 6, 7, 8]);
    let bias = found[1].down.bias.as_ref().unwrap();
    let column = table.maps[1][Map::Down as usize].iter().skip(4).step_by(9);
    for (bias, weight) in bias.iter().zip(column) {
        assert!((bias - 5.0 * weight).abs() < 1e-5);
    }
}

#[test]
fn whole_groups_go_and_something_is_left() {
    let table = table(3);
    let error = |arm: &str| applied(arm, &table).unwrap_err();
    assert!(matches!(error("wanda-width(heads=3)"), ShrinkError::Group { heads: 3, shared: 2, block: 0 }));
    assert!(matches!(error("wanda-width(heads=8)"), ShrinkError::Nothing { asked: 4, available: 4, .. }));
    assert!(matches!(error("llm-pruner"), ShrinkError::Spared { first: 4, last: 2, blocks: 3 }));
    let skipped = widths("llm-pruner(ratio=0.5, skip_first=1, skip_last=1)", &table);
    let left: Vec<(usize, usize)> = skipped.iter().map(|n| (n.groups.len(), n.channels.len())).collect();
    assert_eq!(left, [(4, 9), (2, 5), (4, 9)]);
    let mut broken = table.clone();
    broken.inputs[2][0][5] = f32::NAN;
    for arm in ["wanda-width", "flap", "darwinlm(generations=0)"] {
        assert!(matches!(applied(arm, &broken), Err(ShrinkError::NotFinite { block: 2, .. })), "{arm}");
    }
    broken.map_gradients[0][1][3][0] = f32::NAN;
    let arm = "llm-pruner(skip_first=0, skip_last=0)";
    assert!(matches!(applied(arm, &broken), Err(ShrinkError::NotFinite { block: 1, .. })));
}

/// What the parts of every block read.
fn read(arm: &str, table: &Table) -> super::Reading {
    applied(arm, table).unwrap().reading.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_part_loses_as_many_columns_and_fewer_are_among_more(seed in any::<u64>(), few in 0usize..3, more in 1usize..3) {
        let table = table(seed);
        for score in ["l1", "l2", "lamp"] {
            let of = |going: usize, rest: &str| {
                // A hair above the share, which is rounded down.
                let amount = (going as f64 + 1e-6) / HIDDEN as f64;
                read(&format!("upscale(amount={amount}, score={score}{rest})"), &table)
            };
            let (less, most) = (of(few, ""), of(few + more, ""));
            for (less, most) in less.parts.iter().flatten().zip(most.parts.iter().flatten()) {
                prop_assert_eq!((less.len(), most.len()), (HIDDEN - few, HIDDEN - few - more));
                prop_assert!(most.iter().all(|channel| less.contains(channel)));
            }
            let tied = of(few, ", constrained=true").parts.concat();
            prop_assert!(tied.iter().all(|part| *part == tied[0] && part.len() == HIDDEN - few));
            let global = of(few, ", scope=global").parts.concat();
            prop_assert!(global.iter().all(|part| !part.is_empty()));
            prop_assert_eq!(global.iter().map(Vec::len).sum::<usize>(), 2 * BLOCKS * HIDDEN - (2.0 * BLOCKS as f64 * (few as f64 + 1e-6)) as usize);
        }
        // In one part the scores by length and by its share rank alike.
        let segment = |score: &str| read(&format!("upscale(amount=0.5, score={score})"), &table).parts;
        prop_assert_eq!(segment("l2"), segment("lamp"));
    }

    #[test]
    fn orders_copy_no_more_and_shares_of_lengths_are_blind_to_the_sizes_of_parts(seed in any::<u64>(), amount in 0.1f64..0.8) {
        let table = table(seed);
        let found = read(&format!("upscale(amount={amount})"), &table);
        let parts = found.parts.concat();
        let as_is: Vec<usize> = (0..HIDDEN).collect();
        prop_assert!(copies(&found.order, &parts).0 <= copies(&as_is, &parts).0);
        let plain = read(&format!("upscale(amount={amount}, reorder=false)"), &table);
        prop_assert_eq!((plain.order, plain.parts), (as_is, found.parts));
        let mut scaled = table.clone();
        scaled.maps[1].iter_mut().flatten().for_each(|weight| *weight *= 8.0);
        let arm = format!("upscale(amount={amount}, score=lamp, scope=global)");
        prop_assert_eq!(read(&arm, &scaled).parts, read(&arm, &table).parts);
    }
}

#[test]
fn columns_of_zeros_are_the_first_that_are_not_read() {
    let mut table = table(5);
    // Attention of block 0 ignores channels 1 and 4, the feed-forward part of block 2 channels 0 and 5.
    for (block, maps, gone) in [(0, &[Map::Q, Map::K, Map::V][..], [1, 4]), (2, &[Map::Gate, Map::Up], [0, 5])] {
        for map in maps {
            let zero = table.maps[block][*map as usize].iter_mut().enumerate();
            zero.filter(|(at, _)| gone.contains(&(at % HIDDEN))).for_each(|(_, weight)| *weight = 0.0);
        }
    }
    for score in ["l1", "l2", "lamp"] {
        let found = read(&format!("upscale(amount=0.34, score={score})"), &table);
        assert_eq!((&found.parts[0][0], &found.parts[2][1]), (&vec![0, 2, 3, 5], &vec![1, 2, 3, 4]), "{score}");
    }
    table.maps[1][Map::Up as usize][3] = f32::NAN;
    assert!(matches!(applied("upscale", &table), Err(ShrinkError::NotFinite { block: 1, .. })));
    table.width = HIDDEN + 1;
    assert!(matches!(applied("upscale", &table), Err(ShrinkError::ReadInPart { block: 0 })));
}

#[test]
fn squares_are_shares_of_what_stands_behind_them() {
    assert_eq!(lamp(&[4.0, 1.0, 0.0, 3.0, 1.0]), [1.0, 1.0 / 9.0, 0.0, 3.0 / 7.0, 1.0 / 8.0]);
    assert_eq!(lamp(&[0.0, 0.0]), [0.0, 0.0]);
}

#[test]
fn what_searches_and_trainings_read_is_known_before() {
    let reads = |arm: &str, window| crate::registry::shrink(&arm.parse().unwrap()).unwrap().reads(window);
    assert_eq!(reads("wanda-width", 100), 0);
    assert_eq!(reads("dress(steps=10, recover=5, batch=2)", 100), 3 * 15 * 2 * 100);
    // Eight offspring read two windows, the four that are left two more, the two of those that are left four more.
    assert_eq!(reads("darwinlm", 512), 30 * (8 * 2 + 4 * 2 + 2 * 4) * 256);
    assert_eq!(reads("darwinlm(stages=1, samples=3, tokens=64)", 32), 30 * 8 * 3 * 32);
}
