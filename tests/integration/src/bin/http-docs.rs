//! Makes the generated parts of docs/http.md anew.

use std::error::Error;

use integration::http_docs::{PAGE, renewed};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let page = std::fs::read_to_string(PAGE)?;
    Ok(std::fs::write(PAGE, renewed(&page)?)?)
}
