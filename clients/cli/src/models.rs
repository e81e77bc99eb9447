//! Models: what there is, and making and removing them.

use tollgate_client::Client;
use tollgate_client::proto::inference::{CreateModelResponse, Model, ShowModelResponse};

use crate::arguments::Models;
use crate::display::time;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;
use crate::text_file::read_text;

pub(crate) async fn run(client: &Client, command: Models, output: &mut Output) -> Result<(), Failure> {
    match command {
        Models::List => list(client.list_models().await?, output),
        Models::Show { name } => {
            let shown = client.show_model(&name).await?;
            info(&name, shown, output)
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

/// Lists models.
pub(crate) fn list(models: impl IntoIterator<Item = Model>, output: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new(&["NAME", ">SIZE", "FAMILY", "PARAMETERS", "QUANTIZATION", "MODIFIED"]);
    for model in models {
        let details = model.details.unwrap_or_default();
        let (size, modified) = (size(model.size_bytes), time(model.modified_at));
        table.row([model.name, size, details.family, details.parameter_size, details.quantization_level, modified]);
    }
    output.table(&table)
}

/// What a model is and can do.
pub(crate) fn info(name: &str, shown: ShowModelResponse, output: &mut Output) -> Result<(), Failure> {
    let details = shown.details.unwrap_or_default();
    let context = if shown.context_length == 0 { String::new() } else { format!("{} tokens", shown.context_length) };
    output.fields(&[
        ("model", name.to_owned()),
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

fn step_line(step: &CreateModelResponse) -> String {
    match step.total_bytes {
        Some(total) if total > 0 => format!("{} ({})", step.status, size(total)),
        _ => step.status.clone(),
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
}
