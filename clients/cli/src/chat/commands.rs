//! What a line of a conversation means: a prompt, or one of the commands that `ollama run` knows. Nothing here acts.

/// A line, or several that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing to do.
    Nothing,
    /// What to ask the model.
    Prompt(String),
    /// What to do.
    Command(Command),
    /// It begins like a command and is none: of models that see, it may be the path of a picture.
    Unknown {
        /// Its first word.
        word: String,
    },
}

/// What a person tells the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Help(Help),
    Bye,
    /// Forget what was said.
    Clear,
    /// The models there are, whose names begin so.
    List(String),
    /// Go on with another model, from nothing.
    Load(String),
    /// Make a model of what was set and said.
    Save(String),
    Show(Show),
    Set(Set),
    /// It can't be meant: what to say instead.
    Wrong(String),
}

/// Which help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Help {
    Commands,
    Set,
    Show,
    Shortcuts,
    Parameters,
}

/// Of the model, or of this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Info,
    License,
    Modelfile,
    Parameters,
    System,
    Template,
}

/// A setting of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Set {
    /// A name, and at least one value.
    Parameter(String, Vec<String>),
    /// Empty: none.
    System(String),
    /// Whether prompts are kept on disk.
    History(bool),
    WordWrap(bool),
    Verbose(bool),
    /// Whether answers are JSON.
    Json(bool),
    /// A level, `on` or `off`.
    Think(String),
}

/// All commands, for completion.
pub(super) const WORDS: &[&str] = &[
    "/?",
    "/? set",
    "/? shortcuts",
    "/? show",
    "/bye",
    "/clear",
    "/exit",
    "/help",
    "/list",
    "/load ",
    "/save ",
    "/set format json",
    "/set history",
    "/set noformat",
    "/set nohistory",
    "/set nothink",
    "/set nowordwrap",
    "/set parameter ",
    "/set quiet",
    "/set system ",
    "/set think",
    "/set verbose",
    "/set wordwrap",
    "/show info",
    "/show license",
    "/show modelfile",
    "/show parameters",
    "/show system",
    "/show template",
];

const QUOTES: &str = "\"\"\"";

/// Whether `"""` was opened, as the prompt or as the system message, and not closed: the next line belongs to it.
pub(super) fn is_open(text: &str) -> bool {
    quoted(text).or_else(|| quoted(system_of(text)?)).is_some_and(|inner| closed(inner).is_none())
}

/// What a line means.
pub(super) fn parse(text: &str) -> Line {
    if let Some(inner) = quoted(text) {
        let prompt = closed(inner).unwrap_or(inner);
        return if prompt.trim().is_empty() { Line::Nothing } else { Line::Prompt(prompt.to_owned()) };
    }
    if text.trim().is_empty() {
        return Line::Nothing;
    }
    if let Some(system) = system_of(text) {
        return Line::Command(set_system(system));
    }
    // Several lines that were pasted are no command, whatever they begin with.
    if !text.starts_with('/') || text.trim_end().contains('\n') {
        return Line::Prompt(text.to_owned());
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let (word, arguments) = words.split_first().map_or(("", &[][..]), |(word, rest)| (*word, rest));
    command(word, arguments).map_or_else(|| Line::Unknown { word: word.to_owned() }, Line::Command)
}

fn command(word: &str, arguments: &[&str]) -> Option<Command> {
    Some(match (word, arguments) {
        ("/?" | "/help", arguments) => Command::Help(help(arguments)),
        ("/bye" | "/exit", _) => Command::Bye,
        ("/clear", _) => Command::Clear,
        ("/list", arguments) => Command::List(arguments.first().copied().unwrap_or_default().to_owned()),
        ("/load", [model]) => Command::Load((*model).to_owned()),
        ("/load", _) => Command::Wrong("Usage:\n  /load <modelname>".to_owned()),
        ("/save", [model]) => Command::Save((*model).to_owned()),
        ("/save", _) => Command::Wrong("Usage:\n  /save <modelname>".to_owned()),
        ("/show", []) => Command::Help(Help::Show),
        ("/show", [what, ..]) => show(what).map_or_else(|| unknown("/show", what), Command::Show),
        ("/set", []) => Command::Help(Help::Set),
        ("/set", [what, values @ ..]) => set(what, values),
        _ => return None,
    })
}

fn help(arguments: &[&str]) -> Help {
    match arguments {
        ["set" | "/set", "parameter", ..] => Help::Parameters,
        ["set" | "/set", ..] => Help::Set,
        ["show" | "/show", ..] => Help::Show,
        ["shortcut" | "shortcuts", ..] => Help::Shortcuts,
        _ => Help::Commands,
    }
}

fn show(what: &str) -> Option<Show> {
    Some(match what {
        "info" => Show::Info,
        "license" => Show::License,
        "modelfile" => Show::Modelfile,
        "parameters" => Show::Parameters,
        "system" => Show::System,
        "template" => Show::Template,
        _ => return None,
    })
}

/// A setting that is on or off.
type Switch = fn(bool) -> Set;

/// What is on or off, and which of both its name alone means.
fn switch(what: &str) -> Option<(Switch, bool)> {
    Some(match what {
        "history" => (Set::History, true),
        "nohistory" => (Set::History, false),
        "wordwrap" => (Set::WordWrap, true),
        "nowordwrap" => (Set::WordWrap, false),
        "verbose" => (Set::Verbose, true),
        "quiet" => (Set::Verbose, false),
        _ => return None,
    })
}

fn set(what: &str, values: &[&str]) -> Command {
    if let Some((set, meant)) = switch(what) {
        return match values {
            [] | ["on" | "true"] => Command::Set(set(meant)),
            ["off" | "false"] => Command::Set(set(!meant)),
            _ => Command::Wrong(format!("'/set {what}' is followed by nothing, by on, or by off")),
        };
    }
    Command::Set(match (what, values) {
        ("format", ["json", ..]) => Set::Json(true),
        ("format", _) => return Command::Wrong("Invalid or missing format. For 'json' mode use '/set format json'".to_owned()),
        ("noformat", _) => Set::Json(false),
        ("think", []) => Set::Think("on".to_owned()),
        ("think", [level, ..]) => match *level {
            "true" => Set::Think("on".to_owned()),
            "false" => Set::Think("off".to_owned()),
            "on" | "off" | "low" | "medium" | "high" | "max" => Set::Think((*level).to_owned()),
            _ => return Command::Wrong(format!("'{level}' is no level of thinking: low, medium, high or max")),
        },
        ("nothink", _) => Set::Think("off".to_owned()),
        ("parameter", [name, first, rest @ ..]) => {
            Set::Parameter((*name).to_owned(), std::iter::once(first).chain(rest).map(|value| (*value).to_owned()).collect())
        }
        ("parameter", _) => return Command::Help(Help::Parameters),
        _ => return unknown("/set", what),
    })
}

fn unknown(command: &str, what: &str) -> Command {
    Command::Wrong(format!("Unknown command '{command} {what}'. Type /? for help"))
}

/// What stands behind `/set system`, if that is what the text begins with.
fn system_of(text: &str) -> Option<&str> {
    let behind = |text: &'_ str, word: &str| -> Option<usize> {
        let rest = text.strip_prefix(word)?;
        (rest.is_empty() || rest.starts_with([' ', '\t', '\n']))
            .then(|| rest.len() - rest.trim_start_matches([' ', '\t']).len() + word.len())
    };
    let rest = &text[behind(text, "/set")?..];
    Some(&rest[behind(rest, "system")?..])
}

fn set_system(given: &str) -> Command {
    match quoted(given) {
        Some(inner) => Command::Set(Set::System(closed(inner).unwrap_or(inner).to_owned())),
        None if given.trim().is_empty() => Command::Help(Help::Set),
        None => Command::Set(Set::System(given.trim().to_owned())),
    }
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix(QUOTES)
}

/// What stands before the closing quotes, at the end of a line.
fn closed(inner: &str) -> Option<&str> {
    inner.trim_end().strip_suffix(QUOTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Line {
        Line::Command(Command::Wrong(text.to_owned()))
    }

    fn set(set: Set) -> Line {
        Line::Command(Command::Set(set))
    }

    fn ask(prompt: &str) -> Line {
        Line::Prompt(prompt.to_owned())
    }

    #[test]
    fn every_line_means_what_it_means_to_ollama_run() {
        let parameter =
            |name: &str, values: &[&str]| set(Set::Parameter(name.to_owned(), values.iter().map(|value| (*value).to_owned()).collect()));
        let rows = [
            ("", Line::Nothing),
            ("  \t", Line::Nothing),
            ("\"\"\"\"\"\"", Line::Nothing),
            ("\"\"\"\n\n\"\"\"", Line::Nothing),
            ("Why is the sky blue?", ask("Why is the sky blue?")),
            (" /bye", ask(" /bye")),
            ("what does /bye do?", ask("what does /bye do?")),
            ("/etc/hosts\nis pasted", ask("/etc/hosts\nis pasted")),
            ("/bye\nand more", ask("/bye\nand more")),
            ("\"\"\"one\ntwo\"\"\"", ask("one\ntwo")),
            ("\"\"\"\none\n\"\"\"", ask("\none\n")),
            ("\"\"\"one\"\"\" ", ask("one")),
            ("\"\"\"/bye\"\"\"", ask("/bye")),
            ("\"\"\"says \"\"\"hi\"\"\" to\nme\"\"\"", ask("says \"\"\"hi\"\"\" to\nme")),
            ("/bye", Line::Command(Command::Bye)),
            ("/bye ", Line::Command(Command::Bye)),
            ("/exit", Line::Command(Command::Bye)),
            ("/byebye", Line::Unknown { word: "/byebye".to_owned() }),
            ("/", Line::Unknown { word: "/".to_owned() }),
            ("/etc/hosts says what?", Line::Unknown { word: "/etc/hosts".to_owned() }),
            ("/clear", Line::Command(Command::Clear)),
            ("/?", Line::Command(Command::Help(Help::Commands))),
            ("/help", Line::Command(Command::Help(Help::Commands))),
            ("/? set", Line::Command(Command::Help(Help::Set))),
            ("/help /set", Line::Command(Command::Help(Help::Set))),
            ("/? set parameter", Line::Command(Command::Help(Help::Parameters))),
            ("/? show", Line::Command(Command::Help(Help::Show))),
            ("/? shortcuts", Line::Command(Command::Help(Help::Shortcuts))),
            ("/? shortcut", Line::Command(Command::Help(Help::Shortcuts))),
            ("/? nonsense", Line::Command(Command::Help(Help::Commands))),
            ("/list", Line::Command(Command::List(String::new()))),
            ("/list smol", Line::Command(Command::List("smol".to_owned()))),
            ("/load", wrong("Usage:\n  /load <modelname>")),
            ("/load a b", wrong("Usage:\n  /load <modelname>")),
            ("/load llama3.2", Line::Command(Command::Load("llama3.2".to_owned()))),
            ("/save", wrong("Usage:\n  /save <modelname>")),
            ("/save mine", Line::Command(Command::Save("mine".to_owned()))),
            ("/show", Line::Command(Command::Help(Help::Show))),
            ("/show info", Line::Command(Command::Show(Show::Info))),
            ("/show license", Line::Command(Command::Show(Show::License))),
            ("/show modelfile", Line::Command(Command::Show(Show::Modelfile))),
            ("/show parameters", Line::Command(Command::Show(Show::Parameters))),
            ("/show system", Line::Command(Command::Show(Show::System))),
            ("/show template", Line::Command(Command::Show(Show::Template))),
            ("/show off", wrong("Unknown command '/show off'. Type /? for help")),
            ("/set", Line::Command(Command::Help(Help::Set))),
            ("/set nonsense", wrong("Unknown command '/set nonsense'. Type /? for help")),
            ("/set history", set(Set::History(true))),
            ("/set nohistory", set(Set::History(false))),
            ("/set history off", set(Set::History(false))),
            ("/set nohistory false", set(Set::History(true))),
            ("/set verbose off", set(Set::Verbose(false))),
            ("/set wordwrap 5", wrong("'/set wordwrap' is followed by nothing, by on, or by off")),
            ("/set wordwrap", set(Set::WordWrap(true))),
            ("/set nowordwrap", set(Set::WordWrap(false))),
            ("/set verbose", set(Set::Verbose(true))),
            ("/set quiet", set(Set::Verbose(false))),
            ("/set format json", set(Set::Json(true))),
            ("/set format", wrong("Invalid or missing format. For 'json' mode use '/set format json'")),
            ("/set format xml", wrong("Invalid or missing format. For 'json' mode use '/set format json'")),
            ("/set noformat", set(Set::Json(false))),
            ("/set think", set(Set::Think("on".to_owned()))),
            ("/set think high", set(Set::Think("high".to_owned()))),
            ("/set think false", set(Set::Think("off".to_owned()))),
            ("/set think hard", wrong("'hard' is no level of thinking: low, medium, high or max")),
            ("/set nothink", set(Set::Think("off".to_owned()))),
            ("/set parameter", Line::Command(Command::Help(Help::Parameters))),
            ("/set parameter seed", Line::Command(Command::Help(Help::Parameters))),
            ("/set parameter seed 7", parameter("seed", &["7"])),
            ("/set  parameter stop a  b", parameter("stop", &["a", "b"])),
            ("/set system", Line::Command(Command::Help(Help::Set))),
            ("/set system  ", Line::Command(Command::Help(Help::Set))),
            ("/set system You are  mario.", set(Set::System("You are  mario.".to_owned()))),
            ("/set system \"\"\"one line\"\"\"", set(Set::System("one line".to_owned()))),
            ("/set system \"\"\"one\ntwo\"\"\"", set(Set::System("one\ntwo".to_owned()))),
            ("/set system \"\"\"\"\"\"", set(Set::System(String::new()))),
            ("/set systemic", wrong("Unknown command '/set systemic'. Type /? for help")),
            ("/settle", Line::Unknown { word: "/settle".to_owned() }),
        ];
        for (text, meaning) in rows {
            assert_eq!(parse(text), meaning, "{text:?}");
        }
    }

    #[test]
    fn three_quotes_are_open_until_a_line_ends_with_three() {
        for open in
            ["\"\"\"", "\"\"\"\"\"", "\"\"\"one", "\"\"\"one\"\"\" two", "\"\"\"one\n", "/set system \"\"\"one\ntwo", "/set system \"\"\""]
        {
            assert!(is_open(open), "{open:?}");
        }
        for closed in [
            "",
            "one\"\"\"",
            "one \"\"\"",
            "\"\"\"\"\"\"",
            "\"\"\"one\"\"\"",
            "\"\"\"one\ntwo\"\"\"  ",
            "/set system \"\"\"a\"\"\"",
            "/set system a",
        ] {
            assert!(!is_open(closed), "{closed:?}");
        }
    }

    #[test]
    fn whatever_is_completed_is_a_command() {
        for word in WORDS {
            let whole = if word.ends_with(' ') { format!("{word}seed 1") } else { (*word).to_owned() };
            let meaning = parse(&whole);
            let is_command =
                matches!(&meaning, Line::Command(command) if !matches!(command, Command::Wrong(said) if said.starts_with("Unknown")));
            assert!(is_command, "{word}: {meaning:?}");
        }
    }
}
