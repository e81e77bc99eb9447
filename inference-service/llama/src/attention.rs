//! What happens between two matrix products, on plain slices. Every slice is row after row, one row per token.

use rayon::prelude::*;

/// Products that are summed beside each other, so that the compiler can use vector instructions.
const LANES: usize = 16;

/// How a row of queries, or of keys and values, is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heads {
    /// Heads of a query.
    pub(crate) count: usize,
    /// Heads of a key and of a value. Each serves `count / shared` heads of the query.
    pub(crate) shared: usize,
    /// Numbers of one head.
    pub(crate) size: usize,
}

impl Heads {
    /// Numbers of a query.
    pub(crate) fn query_width(self) -> usize {
        self.count * self.size
    }

    /// Numbers of a key, and of a value.
    pub(crate) fn key_width(self) -> usize {
        self.shared * self.size
    }
}

/// Divides each row by its root mean square, and scales it.
pub(crate) fn rms_norm(rows: &[f32], scale: &[f32], epsilon: f32) -> Vec<f32> {
    let mut normed = Vec::with_capacity(rows.len());
    for row in rows.chunks_exact(scale.len()) {
        let factor = (dot(row, row) / row.len() as f32 + epsilon).sqrt().recip();
        normed.extend(row.iter().zip(scale).map(|(value, scale)| value * factor * scale));
    }
    normed
}

/// Cosine and sine of each rotated pair, for one position after the other.
pub(crate) struct Rotation {
    /// Pairs of one head that are rotated.
    pairs: usize,
    turns: Vec<(f32, f32)>,
}

impl Rotation {
    /// For `count` positions from `start` on. A frequency is the angle by which its pair turns from one position to the next.
    pub(crate) fn new(frequencies: &[f32], start: usize, count: usize) -> Self {
        let angles = (start..start + count).flat_map(|position| frequencies.iter().map(move |frequency| position as f32 * frequency));
        Self { pairs: frequencies.len(), turns: angles.map(|angle| (angle.cos(), angle.sin())).collect() }
    }

    /// Turns each pair of neighbours in each head by its row's angles. Other llamas than those of llama.cpp's GGUF pair otherwise.
    pub(crate) fn apply(&self, rows: &mut [f32], row_width: usize, head_size: usize) {
        for (row, turns) in rows.chunks_exact_mut(row_width).zip(self.turns.chunks_exact(self.pairs)) {
            for head in row.chunks_exact_mut(head_size) {
                for (pair, (cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                    *pair = [pair[0] * cos - pair[1] * sin, pair[0] * sin + pair[1] * cos];
                }
            }
        }
    }
}

/// Each query attends to the keys of the positions up to its own; the last row of `keys` and `values` belongs to the last query.
pub(crate) fn attend(queries: &[f32], keys: &[f32], values: &[f32], heads: Heads) -> Vec<f32> {
    let width = heads.query_width();
    let count = queries.len() / width;
    let before = keys.len() / heads.key_width() - count;
    let mut attended = vec![0.0; queries.len()];
    let one = |(index, (attended, query)): (usize, (&mut [f32], &[f32]))| {
        let seen = (before + index + 1) * heads.key_width();
        attend_one(attended, query, &keys[..seen], &values[..seen], heads);
    };
    if count == 1 {
        // A single token is done before other threads are awake.
        one((0, (&mut attended, queries)));
    } else {
        attended.par_chunks_mut(width).zip(queries.par_chunks(width)).enumerate().for_each(one);
    }
    attended
}

fn attend_one(attended: &mut [f32], query: &[f32], keys: &[f32], values: &[f32], heads: Heads) {
    let Heads { count, shared, size } = heads;
    let scale = (size as f32).sqrt().recip();
    let mut weights = Vec::with_capacity(keys.len() / heads.key_width());
    for (head, (attended, query)) in attended.chunks_exact_mut(size).zip(query.chunks_exact(size)).enumerate() {
        let from = head / (count / shared) * size;
        weights.clear();
        weights.extend(keys.chunks_exact(heads.key_width()).map(|key| dot(query, &key[from..from + size]) * scale));
        softmax(&mut weights);
        for (value, weight) in values.chunks_exact(heads.key_width()).zip(&weights) {
            for (sum, value) in attended.iter_mut().zip(&value[from..from + size]) {
                *sum += weight * value;
            }
        }
    }
}

/// `gate · sigmoid(gate) · up`, into `gate`.
pub(crate) fn gated(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + (-*gate).exp()) * up;
    }
}

/// Adds `other` to `rows`.
pub(crate) fn add(rows: &mut [f32], other: &[f32]) {
    for (value, other) in rows.iter_mut().zip(other) {
        *value += other;
    }
}

/// Makes numbers into shares of 1. The highest is taken off first: no number is too large for `exp`.
fn softmax(values: &mut [f32]) {
    let highest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in &mut *values {
        *value = (*value - highest).exp();
        sum += *value;
    }
    for value in values {
        *value /= sum;
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_near(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5), "{found:?}, not {expected:?}");
    }

    #[test]
    fn a_dot_product_counts_every_element_also_those_beyond_the_last_whole_vector() {
        for length in [0_u16, 1, 15, 16, 17, 64, 67] {
            let values: Vec<f32> = (0..length).map(f32::from).collect();
            let expected: f32 = values.iter().map(|value| value * value).sum();
            assert_eq!(dot(&values, &values), expected);
        }
    }

    #[test]
    fn each_row_is_normed_by_itself() {
        assert_near(&rms_norm(&[3.0, 4.0, 0.0, 0.5], &[1.0, 2.0], 0.0), &[0.848_528, 2.262_742, 0.0, 2.828_427]);
    }

    #[test]
    fn a_pair_of_neighbours_turns_with_its_position_and_the_rest_of_a_head_stays() {
        let quarter = std::f32::consts::FRAC_PI_2;
        // Two rows of two heads with three numbers each, of which one pair is rotated; positions 1 and 2.
        let mut rows = [1.0, 0.0, 7.0, 0.0, 1.0, 8.0, 1.0, 0.0, 7.0, 0.0, 1.0, 8.0];
        Rotation::new(&[quarter], 1, 2).apply(&mut rows, 6, 3);
        assert_near(&rows, &[0.0, 1.0, 7.0, -1.0, 0.0, 8.0, -1.0, 0.0, 7.0, 0.0, -1.0, 8.0]);
    }

    #[test]
    fn a_query_attends_only_to_positions_up_to_its_own() {
        let heads = Heads { count: 1, shared: 1, size: 1 };
        // All keys are alike, so an answer is the mean of the values that were seen.
        let values = [2.0, 4.0, 9.0];
        assert_near(&attend(&[1.0, 1.0, 1.0], &[1.0; 3], &values, heads), &[2.0, 3.0, 5.0]);
        // The same, in two pieces and one by one.
        assert_near(&attend(&[1.0, 1.0], &[1.0; 3], &values, heads), &[3.0, 5.0]);
        assert_near(&attend(&[1.0], &[1.0; 3], &values, heads), &[5.0]);
    }

    #[test]
    fn heads_of_a_query_share_those_of_the_keys_in_order() {
        let heads = Heads { count: 4, shared: 2, size: 1 };
        assert_near(&attend(&[1.0; 4], &[1.0, 1.0], &[5.0, 6.0], heads), &[5.0, 5.0, 6.0, 6.0]);
    }

    #[test]
    fn a_key_that_fits_a_query_weighs_more_and_none_is_too_large() {
        let heads = Heads { count: 1, shared: 1, size: 1 };
        assert_near(&attend(&[1000.0], &[1.0, 2.0], &[3.0, 4.0], heads), &[4.0]);
        let two_to_one = attend(&[1.0], &[0.0, 2.0_f32.ln()], &[0.0, 3.0], heads);
        assert_near(&two_to_one, &[2.0]);
    }

    #[test]
    fn a_gate_that_is_far_below_zero_is_closed_and_one_far_above_open() {
        let mut gate = [-100.0, 0.0, 100.0];
        gated(&mut gate, &[3.0, 3.0, 3.0]);
        assert_near(&gate, &[0.0, 0.0, 300.0]);
    }
}
