//! Credits: the balance, usage as a plot and as tables, the ledger and its receipts.

use std::collections::BTreeMap;

use integration::polling::until;
use serde_json::Value;
use shared::proto::auth;

use crate::page::{Page, SOON, grouped, scene};
use crate::stage::{CALL, STARTING, Stage};

/// Calls, input tokens, output tokens and credits of each model, by the ledger.
async fn used(stage: &Stage, person: &crate::stage::Person) -> BTreeMap<String, [i64; 4]> {
    let mut used: BTreeMap<String, [i64; 4]> = BTreeMap::new();
    for entry in stage.ledger(person).await.iter().filter(|entry| entry.kind() == auth::LedgerEntryKind::Settle) {
        let (tokens, sums) = (entry.usage.unwrap(), used.entry(entry.model.clone()).or_default());
        let of_entry = [-entry.credits(), 1, i64::from(tokens.input_tokens()), i64::from(tokens.output_tokens())];
        for (sum, value) in sums.iter_mut().zip(of_entry) {
            *sum += value;
        }
    }
    used
}

/// The rows of a table's body, each as the texts of its cells.
async fn rows(page: &Page, id: &str) -> Vec<Vec<String>> {
    let rows =
        format!("[...document.querySelectorAll('#{id} tbody tr')].map((row) => [...row.cells].map((cell) => cell.innerText.trim()))");
    serde_json::from_value(page.browser.evaluate(&rows).await).unwrap()
}

/// What the bars of the plot say, by model: each has a title that ends with the model and its figure.
async fn drawn(page: &Page) -> BTreeMap<String, i64> {
    let titles = page.browser.evaluate("[...document.querySelectorAll('#usage-plot rect title')].map((title) => title.textContent)").await;
    let mut drawn = BTreeMap::new();
    for title in titles.as_array().unwrap() {
        let (model, figure) = title.as_str().unwrap().split_once("(UTC), ").unwrap().1.rsplit_once(": ").unwrap();
        *drawn.entry(model.to_owned()).or_default() += figure.replace(',', "").parse::<i64>().unwrap();
    }
    drawn
}

#[tokio::test]
async fn the_balance_is_that_of_the_account() {
    scene("the_balance_is_that_of_the_account", async |stage, page| {
        let person = stage.person("has.credits").await;
        stage.call(&person.token, "smollm2").await;
        let balance = stage.settled(&person).await;
        assert_eq!((balance.available_credits(), balance.spent_credits()), (STARTING - CALL, CALL));
        page.sign_in("has.credits").await;
        page.loaded().await;
        let said = page.text_at("balance").await;
        for (what, credits) in [("Available", STARTING - CALL), ("Held", 0), ("Spent", CALL), ("Granted", STARTING)] {
            assert!(said.contains(&format!("{what}{}", grouped(credits))), "{what} {credits}: {said}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_plot_of_usage_and_its_tables_say_what_the_ledger_does() {
    scene("the_plot_of_usage_and_its_tables_say_what_the_ledger_does", async |stage, page| {
        let person = stage.person("uses.two.models").await;
        stage.upstream.model("zeta", &["completion"], 8192);
        for model in ["smollm2", "zeta", "smollm2", "zeta", "smollm2"] {
            stage.call(&person.token, model).await;
        }
        stage.settled(&person).await;
        let used = used(stage, &person).await;
        assert_eq!(used.values().map(|sums| sums[1]).collect::<Vec<_>>(), [3, 2], "{used:?}");
        page.sign_in("uses.two.models").await;
        page.view("Usage").await;
        let figures = |sums: &[i64; 4]| sums.map(grouped).to_vec();
        // Those of a measure: 0 are the credits.
        let of = |measure: usize| used.iter().map(|(model, sums)| (model.clone(), sums[measure])).collect::<BTreeMap<_, _>>();
        let mut by_model = rows(page, "usage-by-model").await;
        by_model.sort();
        let expected: Vec<_> = used.iter().map(|(model, sums)| [vec![model.clone()], figures(sums)].concat()).collect();
        assert_eq!(by_model, expected);
        // All on one day, or on two around midnight.
        let by_day = rows(page, "usage-by-day").await;
        let calls: i64 = by_day.iter().map(|row| row[3].parse::<i64>().unwrap()).sum();
        assert!(calls == 5 && by_day.len() <= 4, "{by_day:?}");
        for (measure, name) in ["Credits", "Calls", "Input tokens", "Output tokens"].into_iter().enumerate() {
            page.choose("Plot", name).await;
            let caption = format!("document.querySelector('#usage-plot figcaption')?.textContent.startsWith('{name} by day') === true");
            until("the plot", SOON, || async { (page.browser.evaluate(&caption).await == true).then_some(()) }).await;
            assert_eq!(drawn(page).await, of(measure), "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn days_that_are_none_or_too_many_are_refused_beside_their_field_and_the_figures_stay() {
    scene("days_that_are_none_or_too_many_are_refused_beside_their_field_and_the_figures_stay", async |stage, page| {
        let person = stage.person("asks.for.days").await;
        stage.call(&person.token, "smollm2").await;
        stage.settled(&person).await;
        page.sign_in("asks.for.days").await;
        page.view("Usage").await;
        let before = rows(page, "usage-by-day").await;
        page.browser.evaluate("document.getElementById('usage-days-first-day').value = '2020-01-01'").await;
        page.press("button", "Show").await;
        page.says("92").await;
        assert_eq!(rows(page, "usage-by-day").await, before);
    })
    .await;
}

#[tokio::test]
async fn the_ledger_is_read_page_by_page_to_its_first_entry() {
    scene("the_ledger_is_read_page_by_page_to_its_first_entry", async |stage, page| {
        let person = stage.person("has.a.ledger").await;
        stage.grant(&person, (0..60).map(|number| format!("note-{number:02}"))).await;
        page.sign_in("has.a.ledger").await;
        page.view("Ledger").await;
        assert_eq!(rows(page, "ledger").await.len(), 25);
        for read in [50, 61] {
            page.press("button", "Show older entries").await;
            until("more entries", SOON, || async { (rows(page, "ledger").await.len() == read).then_some(()) }).await;
        }
        page.gone("button", "Show older entries").await;
        let rows = rows(page, "ledger").await;
        let notes: Vec<_> = rows.iter().filter_map(|row| row[1].strip_prefix("Grant: note-")).collect();
        let expected: Vec<_> = (0..60).rev().map(|number| format!("{number:02}")).collect();
        assert_eq!(notes, expected);
        assert_eq!(rows[60][2], format!("+{}", grouped(STARTING)));
        assert_eq!(rows[0][3], grouped(STARTING + 60));
    })
    .await;
}

#[tokio::test]
async fn a_receipt_says_what_its_call_cost_and_how_it_ended() {
    scene("a_receipt_says_what_its_call_cost_and_how_it_ended", async |stage, page| {
        let person = stage.person("reads.a.receipt").await;
        let key = stage.key(&person, "paid").await;
        stage.call(&key, "smollm2").await;
        stage.settled(&person).await;
        let entry = stage.ledger(&person).await.remove(0);
        page.sign_in("reads.a.receipt").await;
        page.view("Ledger").await;
        page.press("button", &format!("Receipt of entry {}", entry.ledger_entry_id)).await;
        let dialog = page.find("dialog", "Receipt").await;
        page.says("the model finished").await;
        let said = page.text_of(dialog).await;
        for part in [&entry.request_id, "smollm2", &grouped(-CALL), &grouped(STARTING - CALL), &entry.api_key_id, &entry.user_id] {
            assert!(said.contains(part), "{part}: {said}");
        }
        page.press("button", "Close").await;
        page.gone("dialog", "Receipt").await;
        // The focus is where it was.
        let focused = "document.activeElement.textContent";
        assert_eq!(page.browser.evaluate(focused).await, Value::from(format!("Receipt of entry {}", entry.ledger_entry_id)));
    })
    .await;
}
