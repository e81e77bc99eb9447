//! What a session says of itself.

use super::commands::Help;

/// The help that was asked for.
pub(super) fn text(help: Help) -> &'static str {
    match help {
        Help::Commands => COMMANDS,
        Help::Set => SET,
        Help::Show => SHOW,
        Help::Shortcuts => SHORTCUTS,
        Help::Parameters => PARAMETERS,
    }
}

const COMMANDS: &str = r#"Available Commands:
  /set            Set session variables
  /show           Show model information
  /list           List the models there are
  /load <model>   Go on with another model, from nothing
  /save <model>   Make a model of this session; operators only
  /clear          Clear session context
  /bye            Exit
  /?, /help       Help for a command
  /? shortcuts    Help for keyboard shortcuts

Use """ to begin a multi-line message.
A line that begins with a blank is never a command.
"#;

/// Behind the commands, for models that see.
pub(super) const PICTURES: &str = "Use /path/to/file to include .jpg, .png or .webp images.\n";

const SET: &str = r#"Available Commands:
  /set parameter ...     Set a parameter
  /set system <string>   Set system message; """""" takes it away
  /set history           Keep what is asked on disk
  /set nohistory         Don't
  /set wordwrap          Enable wordwrap
  /set nowordwrap        Disable wordwrap
  /set format json       Enable JSON mode
  /set noformat          Disable formatting
  /set verbose           Show LLM stats
  /set quiet             Disable LLM stats
  /set think             Enable thinking; or how much: low, medium, high, max
  /set nothink           Disable thinking
"#;

const SHOW: &str = "Available Commands:
  /show info         Show details for this model
  /show license      Show model license
  /show modelfile    Show Modelfile for this model
  /show parameters   Show parameters that were set here
  /show system       Show system message that was set here
  /show template     Show prompt template
";

const SHORTCUTS: &str = "Available keyboard shortcuts:
  Ctrl + a            Move to the beginning of the line (Home)
  Ctrl + e            Move to the end of the line (End)
   Alt + b            Move back (left) one word
   Alt + f            Move forward (right) one word
  Ctrl + k            Delete the line after the cursor
  Ctrl + u            Delete the line before the cursor
  Ctrl + w            Delete the word before the cursor
  Ctrl + _            Undo

  Up, Down            What was asked before
  Ctrl + r            Search in it
  Tab                 Complete a command
   Alt + Enter        Begin another line

  Ctrl + l            Clear the screen
  Ctrl + g            Open default editor to compose a prompt
  Ctrl + c            Stop the model from responding
  Ctrl + d            Exit (/bye)
";

const PARAMETERS: &str = "Available Parameters:
  /set parameter seed <int>                Random number seed
  /set parameter num_predict <int>         Max tokens; -1: as the server allows
  /set parameter top_k <int>               Pick from top k num of tokens
  /set parameter top_p <float>             Pick by sum of probabilities
  /set parameter min_p <float>             Pick by top probability * min_p
  /set parameter typical_p <float>         Pick by how typical a token is
  /set parameter num_ctx <int>             Set the context size
  /set parameter temperature <float>       Set creativity level
  /set parameter repeat_penalty <float>    How strongly to penalize repetitions
  /set parameter presence_penalty <float>  Penalize tokens that were there
  /set parameter frequency_penalty <float> Penalize tokens by their count
  /set parameter repeat_last_n <int>       How far back to look for repetitions
  /set parameter stop <string> <string> ...   Set the stop parameters
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_help_fits_a_terminal_of_80_columns() {
        for help in [Help::Commands, Help::Set, Help::Show, Help::Shortcuts, Help::Parameters] {
            for line in text(help).lines().chain(PICTURES.lines()) {
                assert!(line.chars().count() < 80, "{line}");
            }
        }
    }
}
