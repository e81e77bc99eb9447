//! A llama's weights, and its forward pass.
//!
//! candle reads the quantized matrices and multiplies by them. What lies between two products is in [`attention`](crate::attention).
//! candle's own llama comes with a hundred other models, which all would have to be compiled.

use std::io::{Read, Seek};

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Result, Tensor, bail};

use crate::attention::{Heads, Rotation, add, attend, gated, rms_norm};

/// The most tokens that are kept for one answer. Each takes a key and a value in every layer.
pub const MAX_CONTEXT: usize = 4096;

/// So many tokens at once take longer with quantized numbers than it takes to make those ready for vector instructions.
const WORTH_DEQUANTIZING: usize = 16;

/// A model's weights. They are only read: any number of answers may run on them.
pub struct Llama {
    heads: Heads,
    epsilon: f32,
    frequencies: Vec<f32>,
    /// One row per token.
    embedding: Matrix,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    /// `None`: the embedding serves both ways.
    output: Option<Matrix>,
}

struct Layer {
    attention_norm: Vec<f32>,
    query: Matrix,
    key: Matrix,
    value: Matrix,
    attention_output: Matrix,
    feed_forward_norm: Vec<f32>,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

/// The keys and values of the tokens so far, of one answer.
pub struct Cache {
    tokens: usize,
    layers: Vec<Past>,
}

#[derive(Clone, Default)]
struct Past {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Cache {
    /// Tokens so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

impl Llama {
    pub(crate) fn read<R: Read + Seek>(content: &Content, reader: &mut R) -> Result<Self> {
        if number(content, "llama.expert_count").is_ok_and(|count| count > 1) {
            bail!("a mixture of experts isn't supported");
        }
        let width = number(content, "llama.embedding_length")?;
        let count = number(content, "llama.attention.head_count")?;
        let shared = number(content, "llama.attention.head_count_kv").unwrap_or(count);
        if width == 0 || count == 0 || shared == 0 || !count.is_multiple_of(shared) || !width.is_multiple_of(count) {
            bail!("{count} heads, of which {shared} have keys, don't divide {width} numbers");
        }
        let heads = Heads { count, shared, size: width / count };
        let rotated = number(content, "llama.rope.dimension_count").unwrap_or(heads.size);
        if !rotated.is_multiple_of(2) || !(2..=heads.size).contains(&rotated) {
            bail!("{rotated} numbers of a head can't be rotated in pairs: it has {}", heads.size);
        }
        let base = real(content, "llama.rope.freq_base").unwrap_or(10_000.0);
        let frequencies = (0..rotated).step_by(2).map(|first| base.powf(first as f32 / rotated as f32).recip()).collect();

        let mut file = Weights { content, reader };
        let embedding = file.matrix("token_embd.weight", None, width)?;
        let tokens = embedding.rows;
        let output = match content.tensor_infos.contains_key("output.weight") {
            true => Some(file.matrix("output.weight", Some(tokens), width)?),
            false => None,
        };
        let layers = (0..number(content, "llama.block_count")?).map(|index| file.layer(index, width, heads)).collect::<Result<_>>()?;
        let norm = file.vector("output_norm.weight", width)?;
        let epsilon = real(content, "llama.attention.layer_norm_rms_epsilon")?;
        Ok(Self { heads, epsilon, frequencies, embedding, layers, norm, output })
    }

    /// A cache for one answer.
    pub fn cache(&self) -> Cache {
        Cache { tokens: 0, layers: vec![Past::default(); self.layers.len()] }
    }

    /// Adds tokens to the cache. Returns the logits of the token after the last one: one for each token of the vocabulary.
    ///
    /// Fails when there is no token, or one that the vocabulary hasn't. The cache is of no use after that.
    pub fn evaluate(&self, cache: &mut Cache, tokens: &[u32]) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            bail!("there is no token to evaluate");
        }
        let Self { heads, epsilon, .. } = *self;
        let (query_width, key_width) = (heads.query_width(), heads.key_width());
        let rotation = Rotation::new(&self.frequencies, cache.tokens, tokens.len());
        let mut rows = self.embedding.rows_of(tokens)?;
        for (layer, past) in self.layers.iter().zip(&mut cache.layers) {
            let normed = layer.query.input(rms_norm(&rows, &layer.attention_norm, epsilon))?;
            let mut queries = layer.query.times(&normed)?;
            let mut keys = layer.key.times(&normed)?;
            rotation.apply(&mut queries, query_width, heads.size);
            rotation.apply(&mut keys, key_width, heads.size);
            past.keys.append(&mut keys);
            past.values.append(&mut layer.value.times(&normed)?);
            let attended = attend(&queries, &past.keys, &past.values, heads);
            add(&mut rows, &layer.attention_output.times(&layer.attention_output.input(attended)?)?);

            let normed = layer.gate.input(rms_norm(&rows, &layer.feed_forward_norm, epsilon))?;
            let mut gate = layer.gate.times(&normed)?;
            gated(&mut gate, &layer.up.times(&normed)?);
            add(&mut rows, &layer.down.times(&layer.down.input(gate)?)?);
        }
        cache.tokens += tokens.len();
        // Only the last row says what follows.
        let last = rms_norm(&rows[rows.len() - self.norm.len()..], &self.norm, epsilon);
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        output.times(&output.input(last)?)
    }
}

/// A quantized matrix: a row for each number of a product, a column for each number that goes in.
struct Matrix {
    tensor: QTensor,
    rows: usize,
    columns: usize,
}

impl Matrix {
    /// Rows of numbers that may be multiplied by this matrix, and by others with as many columns.
    fn input(&self, rows: Vec<f32>) -> Result<Tensor> {
        let count = rows.len() / self.columns;
        Tensor::from_vec(rows, (count, self.columns), &Device::Cpu)
    }

    fn times(&self, rows: &Tensor) -> Result<Vec<f32>> {
        let product = match self.tensor.dtype() {
            // candle multiplies by these one number at a time, and by others with vector instructions.
            GgmlDType::Q4_1 | GgmlDType::Q5_0 | GgmlDType::Q5_1 if rows.dim(0)? >= WORTH_DEQUANTIZING => {
                rows.matmul(&self.tensor.dequantize(&Device::Cpu)?.t()?)?
            }
            _ => rows.apply_op1_no_bwd(&self.tensor)?,
        };
        product.flatten_all()?.to_vec1()
    }

    fn rows_of(&self, indexes: &[u32]) -> Result<Vec<f32>> {
        self.tensor.embedding(&Tensor::new(indexes, &Device::Cpu)?)?.flatten_all()?.to_vec1()
    }
}

/// The weights in a file.
struct Weights<'a, R> {
    content: &'a Content,
    reader: &'a mut R,
}

impl<R: Read + Seek> Weights<'_, R> {
    fn layer(&mut self, index: usize, width: usize, heads: Heads) -> Result<Layer> {
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        let gate = self.matrix(&name("ffn_gate"), None, width)?;
        let inner = gate.rows;
        Ok(Layer {
            attention_norm: self.vector(&name("attn_norm"), width)?,
            query: self.matrix(&name("attn_q"), Some(heads.query_width()), width)?,
            key: self.matrix(&name("attn_k"), Some(heads.key_width()), width)?,
            value: self.matrix(&name("attn_v"), Some(heads.key_width()), width)?,
            attention_output: self.matrix(&name("attn_output"), Some(width), heads.query_width())?,
            feed_forward_norm: self.vector(&name("ffn_norm"), width)?,
            up: self.matrix(&name("ffn_up"), Some(inner), width)?,
            down: self.matrix(&name("ffn_down"), Some(width), inner)?,
            gate,
        })
    }

    /// `rows`: `None` when any number will do.
    fn matrix(&mut self, name: &str, rows: Option<usize>, columns: usize) -> Result<Matrix> {
        let tensor = self.content.tensor(self.reader, name, &Device::Cpu)?;
        match *tensor.shape().dims() {
            [found, width] if width == columns && rows.is_none_or(|rows| rows == found) => Ok(Matrix { tensor, rows: found, columns }),
            ref shape => bail!("{name} has the shape {shape:?}, which doesn't fit {columns} numbers"),
        }
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>> {
        let vector: Vec<f32> = self.content.tensor(self.reader, name, &Device::Cpu)?.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1()?;
        if vector.len() != length {
            bail!("{name} has {} numbers, not {length}", vector.len());
        }
        Ok(vector)
    }
}

fn metadata<'a>(content: &'a Content, key: &str) -> Result<&'a Value> {
    match content.metadata.get(key) {
        Some(value) => Ok(value),
        None => bail!("no {key}"),
    }
}

fn number(content: &Content, key: &str) -> Result<usize> {
    Ok(metadata(content, key)?.to_u32()? as usize)
}

fn real(content: &Content, key: &str) -> Result<f32> {
    metadata(content, key)?.to_f32()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use candle_core::quantized::gguf_file;

    use super::*;

    /// A model of one layer with eight numbers and three tokens, written as a GGUF and read again.
    fn tiny(metadata: &[(&str, Value)], matrices: &[(&str, (usize, usize))]) -> Result<Llama> {
        let mut values = vec![
            ("llama.embedding_length", Value::U32(8)),
            ("llama.attention.head_count", Value::U32(2)),
            ("llama.attention.head_count_kv", Value::U32(1)),
            ("llama.block_count", Value::U32(1)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ];
        let mut shapes = vec![
            ("token_embd.weight", (3, 8)),
            ("blk.0.attn_q.weight", (8, 8)),
            ("blk.0.attn_k.weight", (4, 8)),
            ("blk.0.attn_v.weight", (4, 8)),
            ("blk.0.attn_output.weight", (8, 8)),
            ("blk.0.ffn_gate.weight", (16, 8)),
            ("blk.0.ffn_up.weight", (16, 8)),
            ("blk.0.ffn_down.weight", (8, 16)),
            ("blk.0.attn_norm.weight", (1, 8)),
            ("blk.0.ffn_norm.weight", (1, 8)),
            ("output_norm.weight", (1, 8)),
        ];
        values.retain(|(name, _)| metadata.iter().all(|(changed, _)| name != changed));
        values.extend_from_slice(metadata);
        shapes.retain(|(name, _)| matrices.iter().all(|(changed, _)| name != changed));
        shapes.extend_from_slice(matrices);
        let tensors: Vec<(&str, QTensor)> = shapes
            .into_iter()
            .map(|(name, shape)| {
                (name, QTensor::quantize(&Tensor::rand(-1_f32, 1.0, shape, &Device::Cpu).unwrap(), GgmlDType::F32).unwrap())
            })
            .collect();
        let mut file = Cursor::new(Vec::new());
        let values: Vec<_> = values.iter().map(|(name, value)| (*name, value)).collect();
        gguf_file::write(&mut file, &values, &tensors.iter().map(|(name, tensor)| (*name, tensor)).collect::<Vec<_>>()).unwrap();
        file.set_position(0);
        Llama::read(&Content::read(&mut file)?, &mut file)
    }

    #[test]
    fn a_model_of_any_size_gives_a_number_for_each_of_its_tokens() {
        let model = tiny(&[], &[]).unwrap();
        let logits = model.evaluate(&mut model.cache(), &[0, 2]).unwrap();
        assert!(logits.len() == 3 && logits.iter().all(|logit| logit.is_finite()), "{logits:?}");
        let own_output = tiny(&[], &[("output.weight", (3, 8))]).unwrap();
        assert_eq!(own_output.evaluate(&mut own_output.cache(), &[1]).unwrap().len(), 3);
    }

    #[test]
    fn a_file_that_cant_be_run_is_refused_with_what_is_wrong() {
        let cases = [
            (("llama.expert_count", Value::U32(8)), "experts"),
            (("llama.attention.head_count", Value::U32(3)), "3 heads"),
            (("llama.attention.head_count", Value::U32(0)), "0 heads"),
            (("llama.attention.head_count_kv", Value::U32(0)), "0 have keys"),
            (("llama.embedding_length", Value::U32(0)), "0 numbers"),
            (("llama.embedding_length", Value::U32(16)), "token_embd.weight"),
            (("llama.rope.dimension_count", Value::U32(3)), "3 numbers"),
            (("llama.rope.dimension_count", Value::U32(6)), "6 numbers"),
            (("llama.rope.dimension_count", Value::U32(0)), "0 numbers"),
            (("llama.block_count", Value::U32(u32::MAX)), "blk.1.ffn_gate.weight"),
            (("llama.block_count", Value::String("many".to_owned())), "many"),
        ];
        for (change, says) in cases {
            let error = tiny(std::slice::from_ref(&change), &[]).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(says), "{change:?}: {error:?}");
        }
        for (name, shape) in [("blk.0.attn_k.weight", (8, 8)), ("blk.0.ffn_down.weight", (8, 8)), ("output_norm.weight", (1, 4))] {
            let error = tiny(&[], &[(name, shape)]).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(name), "{name}: {error:?}");
        }
    }
}
