//! What a GGUF is, in Ollama's words.

use llama::Gguf;

use crate::engine::ModelDetails;

/// For lists.
pub(super) fn details(gguf: &Gguf) -> ModelDetails {
    ModelDetails {
        format: "gguf".to_owned(),
        family: gguf.architecture().to_owned(),
        parameter_size: in_words(gguf.parameters()),
        quantization_level: gguf.integer("general.file_type").map_or("unknown", quantization).to_owned(),
        parent_model: String::new(),
    }
}

/// A count as Ollama writes it: `134.52M`.
fn in_words(count: usize) -> String {
    let count = count as f64;
    match count {
        billions if billions >= 1e9 => format!("{:.1}B", count / 1e9),
        millions if millions >= 1e6 => format!("{:.2}M", count / 1e6),
        thousands if thousands >= 1e3 => format!("{:.0}K", count / 1e3),
        _ => format!("{count}"),
    }
}

/// llama.cpp's names of `general.file_type`.
fn quantization(file_type: u32) -> &'static str {
    match file_type {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        32 => "BF16",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_as_ollama_writes_them() {
        assert_eq!([in_words(134_515_008), in_words(1_235_814_432), in_words(999)], ["134.52M", "1.2B", "999"]);
    }
}
