//! DarwinLM: every block loses as much as a search finds it can, when what all of them lose together is given.
//!
//! First a database: heads are removed from the output map of each block, and channels from its contraction, one by one, each time those that cost least
//! while the others are fitted to what they did (`width/columns.rs`), and what is left at even levels is kept. Then a search (`width/evolution.rs`): a
//! candidate has a level for each module, the first is `ratio` everywhere, and a mutation lowers one module's level and raises another's of its kind, so that
//! heads and channels together stay as many. Candidates are told apart by the divergence of their next-token distributions from the whole model's, on twice as much text at
//! every stage.
//!
//! Source: Tang et al., DarwinLM: Evolutionary Structured Pruning of Large Language Models, 2025, and its code.
//!
//! # Difference from the reference
//! Candidates are not tuned before they are judged, and nothing is trained behind the search: it chooses without training. All generations are judged on the
//! same text, so that the best never gets worse. The last level leaves one head and at least one channel; the code's last level leaves nothing of a module. Second moments are those of the
//! whole model's inputs. Where several query heads read one key-value head they are one unit with it. `generations = 0` is the uniform database entry.

use harness_core::{Arm, Axis, Domain, MethodSpec, ParameterError, Parameters};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::registry::Method;
use crate::shrink::{Samples, Shorter, Shrink, ShrinkError, Stack};
use crate::width::database::Database;
use crate::width::evolution::{Found, Search, SearchError, Space};

harness_core::parameters! {
    /// What it is set to.
    pub struct Settings {
        /// Share of the levels that the search begins with everywhere, rounded down, and so of the heads and of the channels that go.
        ratio: f64 = 0.25, Domain::half_open(0.0, 1.0);
        /// Levels of removal of a module, at most; heads have no more than there are key-value heads.
        levels: usize = 16, Domain::closed(1.0, 4096.0);
        /// Share of the mean second moment that is added to every input's own.
        damp: f64 = 0.01, Domain::closed(1e-9, 10.0);
        /// Generations.
        generations: usize = 30, Domain::closed(0.0, 100_000.0);
        /// Offspring of a generation.
        offspring: usize = 8, Domain::closed(2.0, 4096.0);
        /// Stages of selection, each of which half of the candidates survive; one survives the last.
        stages: usize = 3, Domain::closed(1.0, 12.0);
        /// Calibration windows that candidates are judged on at the first stage, at most; twice as many at each later one.
        samples: usize = 2, Domain::closed(1.0, 65536.0);
        /// Tokens of each, at most.
        tokens: usize = 256, Domain::closed(1.0, 65536.0);
    }
}

/// What is known of it.
pub fn spec() -> MethodSpec {
    MethodSpec {
        id: "darwinlm",
        axis: Axis::Shrink,
        about: "removes heads and channels with the others fitted, as many of each block as an evolutionary search finds best at a given total",
        source: "Tang et al.: DarwinLM: Evolutionary Structured Pruning of Large Language Models, 2025, and its code",
        version: 1,
        calibrated: true,
        random: true,
        parameters: Settings::specs(),
        check: |arm| build(arm).map(drop),
    }
}

/// Makes it.
///
/// # Errors
/// A parameter that does not fit.
pub fn build(arm: &Arm) -> Result<Method, ParameterError> {
    let settings = Settings::resolve(arm)?;
    let search = search_of(&settings);
    if search.survivors.is_empty() {
        return Err(ParameterError::Together(format!(
            "`stages = {}` halve {} offspring below one; set fewer stages or more offspring",
            settings.stages, settings.offspring
        )));
    }
    Ok(Method::Shrink(Box::new(DarwinLm { settings, search })))
}

/// How it searches: survivors are half of the offspring, a quarter and so on, and one behind the last stage; none where that cannot be.
fn search_of(settings: &Settings) -> Search {
    let Settings { generations, offspring, stages, .. } = *settings;
    let half = |stage: usize| if stage + 1 == stages { 1 } else { offspring >> (stage + 1) };
    let survivors: Vec<usize> = (0..stages).map(half).collect();
    let falls = survivors.windows(2).all(|pair| pair[0] > pair[1]);
    Search { generations, offspring, survivors: if falls { survivors } else { Vec::new() } }
}

#[derive(Debug)]
struct DarwinLm {
    settings: Settings,
    search: Search,
}

impl DarwinLm {
    /// What candidates are judged on at a stage.
    fn samples(&self, stage: usize) -> Samples {
        Samples { windows: self.settings.samples << stage, start: 0, tokens: self.settings.tokens }
    }

    /// Candidates that are judged at most.
    fn judged(&self) -> usize {
        let Search { generations, offspring, survivors } = &self.search;
        let later: usize = survivors[..survivors.len() - 1].iter().sum();
        1 + generations * (offspring + later + 1)
    }

    fn search(
        &self,
        model: &mut dyn Stack,
        database: &Database,
        random: &mut ChaCha8Rng,
    ) -> Result<Found, ShrinkError> {
        let (blocks, [heads, channels]) = (model.blocks(), database.levels());
        let kinds = [vec![0; blocks], vec![1; blocks]].concat();
        let last = vec![heads.saturating_sub(1), channels.saturating_sub(1)];
        let begin = |levels: usize| (self.settings.ratio * levels as f64).floor() as usize;
        let parent = [vec![begin(heads); blocks], vec![begin(channels); blocks]].concat();
        let modules = 2 * blocks;
        let (mut done, total) = (modules, modules + self.judged());
        let mut failed = None;
        let found = Space { kinds, last }.search(&parent, &self.search, &mut || random.next_u64(), &mut |levels, stage| {
            let judged = model.divergence(&database.widths(levels), self.samples(stage));
            done += 1;
            model.tell(done, total);
            judged.map_err(|error| {
                let told = SearchError::Fitness(error.to_string());
                failed = Some(error);
                told
            })
        });
        found.map_err(|error| failed.unwrap_or(ShrinkError::Search(error)))
    }
}

impl Shrink for DarwinLm {
    fn needs_text(&self) -> bool {
        true
    }

    fn reads(&self, window: usize) -> usize {
        let Search { generations, offspring, survivors } = &self.search;
        // Who comes to a stage reads what is new there: as much as all stages before, or all of the first.
        let new = |stage: usize| if stage == 0 { self.settings.samples } else { self.settings.samples << (stage - 1) };
        let come = std::iter::once(offspring).chain(survivors).take(survivors.len());
        let windows: usize = come.enumerate().map(|(stage, come)| come * new(stage)).sum();
        generations * windows * self.settings.tokens.min(window)
    }

    fn shrink(&self, model: &mut dyn Stack, random: &mut ChaCha8Rng) -> Result<Shorter, ShrinkError> {
        let database = Database::of(model, self.settings.levels, self.settings.damp, self.judged())?;
        let Found { levels, fitness, history } = self.search(model, &database, random)?;
        let (heads, channels) = levels.split_at(model.blocks());
        let steps = vec![
            format!("levels of heads {heads:?} and of channels {channels:?}"),
            format!("divergence {:.6} before and {fitness:.6} behind {} generations", history[0], history.len() - 1),
        ];
        Ok(Shorter { steps, ..Shorter::of_widths(database.widths(&levels)) })
    }
}
