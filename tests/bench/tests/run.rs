//! The benchmark itself, at its smallest and on the unoptimized binaries: that it measures everything and reads every ledger. No figure is
//! held against anything here.

use std::process::Command;

use integration::processes::binary;
use serde_json::Value;

#[test]
fn a_run_measures_every_row_and_reads_the_ledger_of_each_round() {
    // Panics with what to do when the services are not built.
    let (_, _) = (binary("auth-service"), binary("inference-service"));
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let run = Command::new(env!("CARGO_BIN_EXE_tollgate-bench"))
        .args(["run", "--rounds", "1", "--seconds", "0.3", "--redis", "off", "--streams", "20,60", "--folder"])
        .arg(folder.path())
        .arg("--report")
        .arg(&report)
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{said}");

    let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let ids = |list: &str, field: &str| -> Vec<String> {
        let ids = report[list].as_array().unwrap().iter().map(|one| one[field].as_str().unwrap().to_owned());
        ids.collect()
    };
    let (rows, figures) = (ids("rows", "id"), ids("figures", "row"));
    assert_eq!(rows, figures, "each row has a figure, in the rows' order:\n{said}");
    for figure in report["figures"].as_array().unwrap() {
        assert!(figure["median"].as_f64().is_some_and(f64::is_finite), "{figure}");
        assert_eq!(figure["rounds"].as_array().unwrap().len(), 1, "{figure}");
    }
    let median = |row: &str| {
        let figure = report["figures"].as_array().unwrap().iter().find(|figure| figure["row"] == row);
        figure.unwrap()["median"].as_f64().unwrap()
    };
    for row in ["evalsha_per_check", "evalsha_per_extend"] {
        assert_eq!(median(row), 1.0, "{row}");
    }
    assert!((0.125..=1.0).contains(&median("evalsha_per_settle")), "{}", median("evalsha_per_settle"));
    let shared = median("evalsha_per_check_128");
    assert!((0.125..1.0).contains(&shared), "callers at the same time share scripts, eight of them at most: {shared}");
    // After the first Check, the round, the exhausted account, the caller that is alone, the services' first call, the idle streams, and
    // SQLite's round.
    assert_eq!(report["ledgers_read"], 7);
    assert_eq!(report["ledger_mistakes"], Value::Array(Vec::new()));
    assert!(said.contains("ledgers read: 7, all right"), "{said}");
}
