//! Caches of decoders of state spaces: a text is in its states, and no text goes back in them.

use super::{Held, KvCache, NO_KEYS};
use crate::error::ModelError;
use crate::state_space::{Carried, Sizes};

impl KvCache {
    /// An empty cache of states.
    pub(crate) fn of_states(sizes: Sizes) -> Self {
        Self(Held::States(Carried::begin(sizes, 0)))
    }

    /// The states of the sequences, where those are what it holds: all that a decoder of state spaces knows of a text.
    pub fn states(&self) -> Option<&Carried> {
        match &self.0 {
            Held::States(carried) => Some(carried),
            Held::Full(_) | Held::Quantized(_) | Held::Evicting(_) | Held::Blocks(_) => None,
        }
    }

    /// Puts states back that [`Self::states`] gave, of so many sequences behind so many tokens; whether they fit.
    pub(crate) fn restore_states(&mut self, batch: usize, tokens: usize, blocks: Vec<[Vec<f32>; 2]>) -> bool {
        let Ok(carried) = self.states_mut() else { return false };
        let restored = Carried::begin(carried.sizes(), batch).restored(tokens, blocks);
        restored.map(|restored| *carried = restored).is_some()
    }

    pub(crate) fn states_mut(&mut self) -> Result<&mut Carried, ModelError> {
        match &mut self.0 {
            Held::States(carried) => Ok(carried),
            Held::Full(_) | Held::Quantized(_) | Held::Evicting(_) | Held::Blocks(_) => {
                Err(ModelError::StateSpace { what: NO_KEYS })
            }
        }
    }

    /// The states of several caches of one sequence each, behind texts of any lengths.
    pub(crate) fn together(caches: &[Self]) -> Result<Self, ModelError> {
        Ok(Self(Held::States(Carried::gather(&rows(caches)?)?)))
    }

    /// Gives each cache its own of these states, one token further on; the other way of [`Self::together`].
    pub(crate) fn part(&self, caches: &mut [Self]) -> Result<(), ModelError> {
        let all = self.states().ok_or(ModelError::StateSpace { what: NO_KEYS })?;
        let own: Vec<Carried> =
            (0..caches.len()).map(|row| Carried::gather(&[(all, row)])).collect::<Result<_, _>>()?;
        for (cache, own) in caches.iter_mut().zip(own) {
            let held = cache.states_mut()?;
            let tokens = held.tokens() + 1;
            *held = own.behind(tokens);
        }
        Ok(())
    }
}

fn rows(caches: &[KvCache]) -> Result<Vec<(&Carried, usize)>, ModelError> {
    let of = |cache| KvCache::states(cache).map(|states| (states, 0)).ok_or(ModelError::StateSpace { what: NO_KEYS });
    caches.iter().map(of).collect()
}

/// Forgets everything or nothing.
pub(super) fn truncate(cache: &mut Carried, length: usize) -> Result<(), ModelError> {
    match length {
        0 => *cache = Carried::begin(cache.sizes(), 0),
        length if length < cache.tokens() => {
            return Err(ModelError::CacheStates { length, read: cache.tokens() });
        }
        _ => {}
    }
    Ok(())
}

/// Some sequences of caches that have read `length` positions.
pub(super) fn gather(sources: &[(&KvCache, usize)], length: usize) -> Result<KvCache, ModelError> {
    let mut parts = Vec::with_capacity(sources.len());
    for (cache, row) in sources {
        let carried = cache.states().ok_or(ModelError::StateSpace { what: NO_KEYS })?;
        if carried.tokens() != length {
            return Err(ModelError::CacheStates { length, read: carried.tokens() });
        }
        parts.push((carried, *row));
    }
    Ok(KvCache(Held::States(Carried::gather(&parts)?)))
}
