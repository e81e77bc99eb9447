//! Models: what there is, and making and removing them.

use serde_json::{Value, json};
use tollgate_client::Client;
use tollgate_client::proto::inference::{CreateModelResponse, Model, ModelDetails, ShowModelResponse};

use crate::arguments::Models;
use crate::display::{json_text, json_time, time};
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;
use crate::text_file::read_text;

pub(crate) async fn run(client: &Client, command: Models, output: &mut Output) -> Result<(), Failure> {
    match command {
        Models::List => {
            let models = client.list_models().await?;
            let record = |model: &Model| {
                json!({
                    "name": model.name,
                    "sizeBytes": model.size_bytes,
                    "digest": json_text(&model.digest),
                    "modifiedAt": json_time(model.modified_at),
                    "details": details_record(model.details.as_ref()),
                })
            };
            let records: Vec<Value> = models.iter().map(record).collect();
            output.records(&records, &table(models))
        }
        Models::Show { name } => {
            let shown = client.show_model(&name).await?;
            let document = json!({
                "name": name,
                "details": details_record(shown.details.as_ref()),
                "capabilities": shown.capabilities,
                "contextLength": (shown.context_length > 0).then_some(shown.context_length),
                "modifiedAt": json_time(shown.modified_at),
            });
            output.record(&fields(name, shown), document)
        }
        Models::Create { name, file } => {
            let mut progress = client.create_model(&name, &read_text(&file)?).await?;
            let mut last = String::new();
            while let Some(step) = progress.next().await {
                let step = step?;
                // A long step is reported many times; one line each is enough.
                if output.is_json() {
                    let (completed, total) = (step.completed_bytes, step.total_bytes);
                    output.document(&json!({"status": step.status, "completedBytes": completed, "totalBytes": total}))?;
                } else if step.status != last {
                    output.line(&step_line(&step))?;
                    last = step.status;
                }
            }
            Ok(())
        }
        Models::Rm { name } => {
            client.delete_model(&name).await?;
            output.said(&format!("{name} is removed"), json!({"name": name}))
        }
    }
}

/// Models, for people.
pub(crate) fn table(models: impl IntoIterator<Item = Model>) -> Table {
    let mut table = Table::new(&["NAME", ">SIZE", "FAMILY", "PARAMETERS", "QUANTIZATION", "MODIFIED"]);
    for model in models {
        let details = model.details.unwrap_or_default();
        let (size, modified) = (size(model.size_bytes), time(model.modified_at));
        table.row([model.name, size, details.family, details.parameter_size, details.quantization_level, modified]);
    }
    table
}

/// What a model is and can do, for people.
pub(crate) fn fields(name: String, shown: ShowModelResponse) -> [(&'static str, String); 9] {
    let details = shown.details.unwrap_or_default();
    let context = if shown.context_length == 0 { String::new() } else { format!("{} tokens", shown.context_length) };
    [
        ("model", name),
        ("family", details.family),
        ("parameters", details.parameter_size),
        ("quantization", details.quantization_level),
        ("format", details.format),
        ("made from", details.parent_model),
        ("capabilities", shown.capabilities.join(", ")),
        ("context", context),
        ("modified", time(shown.modified_at)),
    ]
}

fn details_record(details: Option<&ModelDetails>) -> Value {
    let details = details.cloned().unwrap_or_default();
    json!({
        "format": json_text(&details.format),
        "family": json_text(&details.family),
        "parameterSize": json_text(&details.parameter_size),
        "quantizationLevel": json_text(&details.quantization_level),
        "parentModel": json_text(&details.parent_model),
    })
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
