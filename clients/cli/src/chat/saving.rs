//! A session as a Modelfile, from which an operator makes a model.

use tollgate_client::proto::inference::Message;

use super::settings::Settings;

const QUOTES: &str = "\"\"\"";

/// The Modelfile of a model that begins as this session stands now.
pub(super) fn modelfile(model: &str, settings: &Settings, turns: &[Message]) -> Result<String, String> {
    if turns.iter().any(|turn| !turn.images.is_empty()) {
        return Err("a Modelfile has no pictures: /clear first, or say it without them".to_owned());
    }
    let mut text = format!("FROM {model}\n");
    for (name, value) in settings.parameters() {
        let value = if name == "stop" { quoted(&value)? } else { value };
        text.push_str(&format!("PARAMETER {name} {value}\n"));
    }
    if let Some(system) = &settings.system {
        text.push_str(&format!("SYSTEM {}\n", quoted(system)?));
    }
    for turn in turns {
        text.push_str(&format!("MESSAGE {} {}\n", turn.role, quoted(&turn.content)?));
    }
    Ok(text)
}

/// Modelfiles have no escapes: a value ends with the line that ends in its quotes.
fn quoted(value: &str) -> Result<String, String> {
    let ends_early = value.lines().any(|line| line.trim_end().ends_with(QUOTES)) || value.ends_with('"');
    if ends_early {
        return Err(format!("a Modelfile can't hold what has {QUOTES} at the end of a line, or ends with a quote"));
    }
    Ok(format!("{QUOTES}{value}{QUOTES}"))
}

#[cfg(test)]
mod tests {
    use tollgate_client::message;

    use super::*;

    #[test]
    fn a_session_becomes_a_modelfile() {
        let mut settings = Settings { system: Some("You are\nmario.".to_owned()), ..Settings::default() };
        settings.set("temperature", &["0".to_owned()]).unwrap();
        settings.set("stop", &["###".to_owned(), "END".to_owned()]).unwrap();
        let turns = [message::user("Hi"), message::assistant("It's-a me!\n")];
        assert_eq!(
            modelfile("smollm2", &settings, &turns).unwrap(),
            "FROM smollm2\nPARAMETER temperature 0\nPARAMETER stop \"\"\"###\"\"\"\nPARAMETER stop \"\"\"END\"\"\"\n\
             SYSTEM \"\"\"You are\nmario.\"\"\"\nMESSAGE user \"\"\"Hi\"\"\"\nMESSAGE assistant \"\"\"It's-a me!\n\"\"\"\n"
        );
    }

    #[test]
    fn what_a_modelfile_cannot_hold_is_said() {
        for text in ["say \"\"\"\nand more", "a \"quote\""] {
            assert!(modelfile("m", &Settings::default(), &[message::user(text)]).unwrap_err().contains("Modelfile"), "{text}");
        }
        let mut picture = message::user("what is it?");
        picture.images.push(vec![1]);
        assert!(modelfile("m", &Settings::default(), &[picture]).unwrap_err().contains("pictures"));
    }
}
