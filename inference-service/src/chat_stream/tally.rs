//! How many tokens an answer took: what the engine counted, held against what was read from it, and without that an estimate.

use crate::auth_client::TokenUsage;
use crate::engine::{Done, Piece};

/// The longest piece that is taken for one token. Common vocabularies have no longer one: the longest are runs of blanks.
const LONGEST_TOKEN_BYTES: usize = 128;

/// What there is to count of a piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct PieceCount {
    tokens: u32,
    tool_calls: usize,
}

impl From<&Piece> for PieceCount {
    /// Ollama sends a piece for each token, so a piece is one. Where it gathers more, which is what tools and a reply at once are for, four
    /// bytes are about one token; and log probabilities are one for each.
    fn from(piece: &Piece) -> Self {
        let is_gathered = !piece.tool_calls.is_empty() || piece.bytes() > LONGEST_TOKEN_BYTES;
        let by_bytes = if is_gathered { piece.bytes().div_ceil(4) } else { 0 };
        let tokens = u32::try_from(by_bytes.max(piece.logprobs.len())).unwrap_or(u32::MAX).max(1);
        Self { tokens, tool_calls: piece.tool_calls.len() }
    }
}

/// What was read from the engine so far, and what it can be at the most.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pieces: u32,
    /// About how many tokens the pieces are; at least one each.
    tokens: u32,
    tool_calls: usize,
    /// Pieces that came with the end. They may be the rest of a token whose beginning came before.
    last_pieces: u32,
    /// About how many tokens the prompt is.
    input_estimate: u32,
    /// What the hold pays for.
    max_input: u32,
    max_output: u32,
}

impl Tally {
    /// Nothing read yet.
    pub(super) fn new(input_estimate: u32, max_input: u32, max_output: u32) -> Self {
        Self { input_estimate, max_input, max_output, ..Self::default() }
    }

    /// Adds a piece that has something in it.
    pub(super) fn count(&mut self, piece: PieceCount) {
        self.pieces = self.pieces.saturating_add(1);
        self.tokens = self.tokens.saturating_add(piece.tokens);
        self.tool_calls = self.tool_calls.saturating_add(piece.tool_calls);
    }

    /// Adds the piece that came with the end.
    pub(super) fn count_last(&mut self, piece: PieceCount) {
        self.count(piece);
        self.last_pieces += 1;
    }

    pub(super) fn pieces(&self) -> u32 {
        self.pieces
    }

    pub(super) fn tool_calls(&self) -> usize {
        self.tool_calls
    }

    /// The engine's counts, as far as they can be; without them the estimates. A prompt takes a token at least, and an answer one for each
    /// piece before its end. Neither takes more than the hold pays for.
    pub(super) fn usage(&self, done: Option<&Done>) -> TokenUsage {
        let (input, output) = done.map_or((None, None), |done| (done.input_tokens, done.output_tokens));
        let input = input.filter(|input| *input > 0);
        let output = output.filter(|output| *output > 0 || self.pieces == 0);
        let least = self.pieces - self.last_pieces;
        let usage = TokenUsage {
            input_tokens: input.unwrap_or(self.input_estimate).min(self.max_input),
            output_tokens: output.unwrap_or(self.tokens).max(least).min(self.max_output),
            estimated: false,
        };
        TokenUsage { estimated: (input, output) != (Some(usage.input_tokens), Some(usage.output_tokens)), ..usage }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Logprob;
    use crate::prompt::ToolCall;

    fn tokens(piece: &Piece) -> u32 {
        PieceCount::from(piece).tokens
    }

    fn text(bytes: usize) -> Piece {
        Piece { content: "x".repeat(bytes), ..Piece::default() }
    }

    #[test]
    fn a_piece_is_one_token_unless_the_engine_gathered_it() {
        assert_eq!([1, 5, 20, 128].map(|bytes| tokens(&text(bytes))), [1, 1, 1, 1]);
        assert_eq!(tokens(&text(129)), 33);
        assert_eq!(tokens(&Piece { thinking: "x".repeat(4000), ..text(4000) }), 2000);
        let call = |arguments: &str| ToolCall { id: "call_1".to_owned(), name: "f".to_owned(), arguments_json: arguments.to_owned() };
        assert_eq!(tokens(&Piece { tool_calls: vec![call("{}")], ..Piece::default() }), 1);
        assert_eq!(tokens(&Piece { tool_calls: vec![call(&"x".repeat(79)), call(&"x".repeat(79))], ..Piece::default() }), 40);
        let logprob = Logprob { token: "x".to_owned(), logprob: 0.0, bytes: vec![b'x'], top: Vec::new() };
        assert_eq!(tokens(&Piece { logprobs: vec![logprob; 7], ..text(20) }), 7);
    }

    #[test]
    fn counts_that_can_not_be_are_clamped_and_said_to_be_estimates() {
        let mut tally = Tally::new(10, 100, 50);
        let usage = |tally: &Tally, input, output| {
            let done = Done { input_tokens: input, output_tokens: output, ..Done::default() };
            let usage = tally.usage(Some(&done));
            (usage.input_tokens, usage.output_tokens, usage.estimated)
        };
        assert_eq!(usage(&tally, Some(7), Some(0)), (7, 0, false), "an empty answer is none");
        for _ in 0..3 {
            tally.count(PieceCount::from(&text(20)));
        }
        for (input, output, expected) in [
            (Some(7), Some(5), (7, 5, false)),
            (Some(100), Some(50), (100, 50, false)),
            (Some(7), Some(3), (7, 3, false)),
            (None, Some(5), (10, 5, true)),
            (Some(0), Some(5), (10, 5, true)),
            (Some(101), Some(5), (100, 5, true)),
            (Some(u32::MAX), Some(u32::MAX), (100, 50, true)),
            (Some(7), None, (7, 3, true)),
            (Some(7), Some(0), (7, 3, true)),
            (Some(7), Some(2), (7, 3, true)),
            (Some(7), Some(51), (7, 50, true)),
        ] {
            assert_eq!(usage(&tally, input, output), expected, "{input:?} {output:?}");
        }
        let cut_off = tally.usage(None);
        assert_eq!((cut_off.input_tokens, cut_off.output_tokens, cut_off.estimated), (10, 3, true));
        // What comes with the end may be the rest of the last token.
        let mut ended = tally;
        ended.count_last(PieceCount::from(&text(2)));
        assert_eq!((usage(&ended, Some(7), Some(3)), usage(&ended, Some(7), None)), ((7, 3, false), (7, 4, true)));
        // No estimate is beyond the hold either.
        let mut tally = Tally::new(5000, 100, 50);
        tally.count(PieceCount::from(&text(4000)));
        let cut_off = tally.usage(None);
        assert_eq!((cut_off.input_tokens, cut_off.output_tokens), (100, 50));
    }
}
