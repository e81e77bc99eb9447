//! Chooses the next token from what the model says of each.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

/// How far back a token counts as a repetition, as in Ollama.
const REPEAT_LAST_N: usize = 64;

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0: always the most likely one.
    pub temperature: f32,
    /// Only the so many most likely; 0: all.
    pub top_k: usize,
    /// Only the most likely ones that together have this probability.
    pub top_p: f32,
    /// Only those with at least this part of the most likely one's probability.
    pub min_p: f32,
    /// Divides what speaks for a token that was there lately; 1: nothing.
    pub repeat_penalty: f32,
    /// The same seed gives the same answer; `None`: another one each time.
    pub seed: Option<i64>,
}

impl Default for Sampling {
    /// Ollama's.
    fn default() -> Self {
        Self { temperature: 0.8, top_k: 40, top_p: 0.9, min_p: 0.0, repeat_penalty: 1.1, seed: None }
    }
}

/// Chooses one token after the other of one answer.
pub struct Sampler {
    sampling: Sampling,
    random: SplitMix64,
    recent: VecDeque<u32>,
}

impl Sampler {
    /// Before the first token of a prompt.
    pub fn new(sampling: Sampling) -> Self {
        // A hasher of the standard library starts from the operating system's randomness: good enough for a choice of words.
        let seed = sampling.seed.map_or_else(|| RandomState::new().hash_one(0_u8), i64::cast_unsigned);
        Self { sampling, random: SplitMix64(seed), recent: VecDeque::with_capacity(REPEAT_LAST_N) }
    }

    /// Remembers a token of the prompt or of the answer.
    pub fn accept(&mut self, token: u32) {
        if self.recent.len() == REPEAT_LAST_N {
            self.recent.pop_front();
        }
        self.recent.push_back(token);
    }

    /// The next token. Changes the logits by the penalty. `None`: the model gave no usable number, so it is broken.
    pub fn choose(&mut self, logits: &mut [f32]) -> Option<u32> {
        self.penalize(logits);
        if self.sampling.temperature <= 0.0 {
            return most_likely(logits, 1).first().filter(|best| best.1.is_finite()).map(|best| best.0);
        }
        let keep = if self.sampling.top_k == 0 { logits.len() } else { self.sampling.top_k };
        let mut candidates = most_likely(logits, keep);
        let best = candidates.first()?.1;
        if !best.is_finite() {
            return None;
        }
        let mut sum = 0.0;
        for (_, weight) in &mut candidates {
            *weight = ((*weight - best) / self.sampling.temperature).exp();
            sum += *weight;
        }
        // Sorted, so both bounds cut off a tail. The first one's weight is 1.
        let mut kept = 0;
        let mut kept_sum = 0.0;
        for &(_, weight) in &candidates {
            if kept > 0 && (kept_sum >= self.sampling.top_p * sum || weight < self.sampling.min_p) {
                break;
            }
            kept += 1;
            kept_sum += weight;
        }
        let mut left = self.random.unit() * kept_sum;
        for &(token, weight) in &candidates[..kept] {
            left -= weight;
            if left < 0.0 {
                return Some(token);
            }
        }
        candidates[..kept].last().map(|last| last.0)
    }

    fn penalize(&self, logits: &mut [f32]) {
        let penalty = self.sampling.repeat_penalty;
        if penalty == 1.0 {
            return;
        }
        let mut recent: Vec<u32> = self.recent.iter().copied().collect();
        recent.sort_unstable();
        recent.dedup();
        for token in recent {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }
}

/// The `count` tokens with the highest values, highest first; of equal ones the first first.
pub fn most_likely(values: &[f32], count: usize) -> Vec<(u32, f32)> {
    let all = (0_u32..).zip(values.iter().copied());
    if count >= values.len() {
        let mut all: Vec<(u32, f32)> = all.collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        return all;
    }
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    for (token, value) in all {
        if best.len() == count && best.last().is_some_and(|least| value.total_cmp(&least.1).is_le()) {
            continue;
        }
        let place = best.partition_point(|other| other.1.total_cmp(&value).is_ge());
        best.insert(place, (token, value));
        best.truncate(count);
    }
    best
}

/// Natural logarithms of the probabilities: `value - log_sum_exp(values)`.
pub fn log_sum_exp(values: &[f32]) -> f64 {
    let highest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = values.iter().map(|value| f64::from((value - highest).exp())).sum();
    f64::from(highest) + sum.ln()
}

/// Steele, Lea and Flood's generator: small, and good enough for a choice of words. Nothing secret depends on it.
struct SplitMix64(u64);

impl SplitMix64 {
    /// 0 to 1, without 1.
    fn unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // 24 bits are all that an f32 keeps.
        (mixed >> 40) as f32 / (1_u32 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(change: impl FnOnce(&mut Sampling)) -> Sampler {
        let mut sampling = Sampling { repeat_penalty: 1.0, top_p: 1.0, top_k: 0, seed: Some(7), ..Sampling::default() };
        change(&mut sampling);
        Sampler::new(sampling)
    }

    fn chosen(mut sampler: Sampler, logits: &[f32]) -> Vec<u32> {
        let mut seen: Vec<u32> = (0..500).map(|_| sampler.choose(&mut logits.to_vec()).unwrap()).collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    #[test]
    fn temperature_0_takes_the_most_likely_token() {
        assert_eq!(chosen(sampler(|s| s.temperature = 0.0), &[0.1, 3.0, 2.9]), [1]);
    }

    #[test]
    fn each_bound_cuts_off_the_unlikely_tokens() {
        let logits = [1.0, 0.9, 0.8, 0.7];
        assert_eq!(chosen(sampler(|_| ()), &logits), [0, 1, 2, 3]);
        assert_eq!(chosen(sampler(|s| s.top_k = 2), &logits), [0, 1]);
        assert_eq!(chosen(sampler(|s| s.top_p = 0.5), &logits), [0, 1]);
        assert_eq!(chosen(sampler(|s| s.top_p = 0.0), &logits), [0]);
        assert_eq!(chosen(sampler(|s| s.min_p = 0.8), &logits), [0, 1]);
    }

    #[test]
    fn the_same_seed_gives_the_same_choices() {
        let choices = |seed| {
            let mut sampler = sampler(|s| s.seed = Some(seed));
            (0..32).map(|_| sampler.choose(&mut [1.0, 0.9, 0.8, 0.7]).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(choices(1), choices(1));
        assert_ne!(choices(1), choices(2));
    }

    #[test]
    fn a_repeated_token_becomes_less_likely_until_64_others_followed() {
        let mut sampler = sampler(|s| (s.temperature, s.repeat_penalty) = (0.0, 1.5));
        sampler.accept(1);
        assert_eq!(sampler.choose(&mut [2.5, 3.0]), Some(0));
        (0..64).for_each(|_| sampler.accept(5));
        assert_eq!(sampler.choose(&mut [2.5, 3.0]), Some(1));
    }

    #[test]
    fn a_model_without_usable_numbers_is_told_apart() {
        assert_eq!(sampler(|_| ()).choose(&mut [f32::NAN, 1.0]), None);
        assert_eq!(sampler(|s| s.temperature = 0.0).choose(&mut [f32::NAN, 1.0]), None);
    }

    #[test]
    fn the_most_likely_come_in_order_whatever_way_they_are_found() {
        let values: Vec<f32> = (0..100_u16).map(|n| f32::from(n.wrapping_mul(37) % 101)).collect();
        let all = most_likely(&values, 100);
        assert!(all.windows(2).all(|pair| pair[0].1 > pair[1].1));
        assert_eq!(most_likely(&values, 7), all[..7]);
    }
}
