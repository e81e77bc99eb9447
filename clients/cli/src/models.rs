//! Models: what there is, and making and removing them.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use tollgate_client::Client;
use tollgate_client::proto::inference::CreateModelResponse;

use crate::arguments::Models;
use crate::failure::Failure;
use crate::output::{Output, time};
use crate::table::Table;

pub(crate) async fn run(client: &Client, command: Models, output: &mut Output) -> Result<(), Failure> {
    match command {
        Models::List => {
            let mut table = Table::new(&["NAME", ">SIZE", "FAMILY", "PARAMETERS", "QUANTIZATION", "MODIFIED"]);
            for model in client.list_models().await? {
                let details = model.details.unwrap_or_default();
                let (size, modified) = (size(model.size_bytes), time(model.modified_at));
                table.row([model.name, size, details.family, details.parameter_size, details.quantization_level, modified]);
            }
            output.table(&table)
        }
        Models::Show { name } => {
            let shown = client.show_model(&name).await?;
            let details = shown.details.unwrap_or_default();
            let context = if shown.context_length == 0 { String::new() } else { format!("{} tokens", shown.context_length) };
            output.fields(&[
                ("model", name),
                ("family", details.family),
                ("parameters", details.parameter_size),
                ("quantization", details.quantization_level),
                ("format", details.format),
                ("made from", details.parent_model),
                ("capabilities", shown.capabilities.join(", ")),
                ("context", context),
                ("modified", time(shown.modified_at)),
            ])
        }
        Models::Create { name, file } => {
            let mut progress = client.create_model(&name, &read_text(&file)?).await?;
            let mut last = String::new();
            while let Some(step) = progress.next().await {
                let step = step?;
                // A long step is reported many times; one line each is enough.
                if step.status != last {
                    output.line(&step_line(&step))?;
                    last = step.status;
                }
            }
            Ok(())
        }
        Models::Rm { name } => {
            client.delete_model(&name).await?;
            output.line(&format!("{name} is removed"))
        }
    }
}

fn step_line(step: &CreateModelResponse) -> String {
    match step.total_bytes {
        Some(total) if total > 0 => format!("{} ({})", step.status, size(total)),
        _ => step.status.clone(),
    }
}

/// Reads a text file; `-` is standard input.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    bytes.and_then(decoded).map_err(|source| Failure::Io { what: format!("{} can't be read", path.display()), source })
}

/// A text as editors write it: UTF-8, or UTF-16 with the mark that says so. The mark is no part of it.
fn decoded(bytes: Vec<u8>) -> io::Result<String> {
    let no_text = || io::Error::new(io::ErrorKind::InvalidData, "it is neither UTF-8 nor UTF-16 with a byte-order mark");
    let utf_16 = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (units, rest) = bytes.as_chunks::<2>();
        let units = units.iter().map(|bytes| unit(*bytes));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.ok().filter(|_| rest.is_empty()).ok_or_else(no_text)
    };
    match bytes.as_slice() {
        [0xff, 0xfe, text @ ..] => utf_16(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => utf_16(text, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, text @ ..] => String::from_utf8(text.to_vec()).map_err(|_| no_text()),
        _ => String::from_utf8(bytes).map_err(|_| no_text()),
    }
}

/// Bytes in a unit for people; empty for 0.
fn size(bytes: i64) -> String {
    match bytes {
        ..=0 => String::new(),
        1..1_000_000 => format!("{} kB", bytes.div_euclid(1_000).max(1)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_units_for_people() {
        let sizes = [0, 1, 98_362_432, 2_019_393_189].map(size);
        assert_eq!(sizes, ["", "1 kB", "98 MB", "2.0 GB"]);
    }

    #[test]
    fn a_text_is_read_in_every_encoding_that_editors_mark() {
        let text = "FROM a\r\nSYSTEM naïve 東京 🍄\n";
        let utf_16 = |bytes: fn(u16) -> [u8; 2]| "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(bytes).collect::<Vec<_>>();
        for bytes in [text.as_bytes().to_vec(), format!("\u{feff}{text}").into_bytes(), utf_16(u16::to_le_bytes), utf_16(u16::to_be_bytes)]
        {
            assert_eq!(decoded(bytes).unwrap(), text);
        }
        for bytes in [&b"\xff"[..], b"\xef\xbb\xbf\xff", b"\xff\xfea", b"\xfe\xff\xd8\x00", b"FROM \xe9"] {
            assert!(decoded(bytes.to_vec()).is_err(), "{bytes:?}");
        }
        assert_eq!(decoded(Vec::new()).unwrap(), "");
    }
}
