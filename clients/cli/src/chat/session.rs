//! A conversation with a person: prompts and commands until they leave.

use std::time::Duration;

use tollgate_client::proto::auth::RequestState;
use tollgate_client::proto::inference::{Format, Message, ShowModelResponse, format};
use tollgate_client::{Client, Error, ErrorReason, message, new_request_id};

use super::commands::{self, Command, Help, Line, Set, Show};
use super::composing;
use super::conversation::Conversation;
use super::help;
use super::history_file::HistoryFile;
use super::line_editor::{LineEditor, Typed};
use super::pictures;
use super::saving;
use super::settings::Settings;
use super::signals::Interrupts;
use super::terminal::Modes;
use super::turn::{self, End, Manner};
use crate::display::credits;
use crate::failure::{self, Failure};
use crate::models;
use crate::output::{Output, hint};

/// How long what a stopped answer cost is waited for.
const CHARGED_WITHIN: Duration = Duration::from_secs(3);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What a session begins with.
pub(super) struct Beginning {
    pub(super) client: Client,
    pub(super) model: String,
    pub(super) settings: Settings,
    pub(super) manner: Manner,
    pub(super) verbose: bool,
    /// Where what is asked is kept; `None`: nowhere.
    pub(super) history: Option<HistoryFile>,
    pub(super) keeps_history: bool,
    pub(super) modes: Modes,
}

/// What is known of a model, when the credential may ask.
#[derive(Default)]
struct Facts(Option<ShowModelResponse>);

impl Facts {
    fn can(&self, what: &str) -> bool {
        self.0.as_ref().is_some_and(|shown| shown.capabilities.iter().any(|capability| capability == what))
    }
}

/// Whether the session goes on.
enum Next {
    Read,
    /// With this text to begin with.
    Edit(String),
    Leave,
}

/// Talks until the person leaves, or nothing can go on.
pub(super) async fn run(beginning: Beginning, output: &mut Output, interrupts: &mut Interrupts) -> Result<(), Failure> {
    let Some(facts) = interrupts.or(facts(&beginning.client, &beginning.model)).await else { return Err(Failure::Interrupted) };
    let remembered = match beginning.history.as_ref().map(HistoryFile::load) {
        Some(Ok(prompts)) => prompts,
        Some(Err(error)) => {
            hint(&format!("tollgate: what was asked before can't be read: {error}"));
            Vec::new()
        }
        None => Vec::new(),
    };
    let mut session = Session {
        facts: facts?,
        thinks_by_choice: beginning.settings.think.is_some(),
        conversation: Conversation::default(),
        editor: LineEditor::new(remembered),
        with: beginning,
        output,
        interrupts,
    };
    session.choose_thinking();
    session.talk().await
}

/// What a model is and can do. A key that may only chat isn't told, and needn't be.
async fn facts(client: &Client, model: &str) -> Result<Facts, Failure> {
    match client.show_model(model).await {
        Ok(shown) => Ok(Facts(Some(shown))),
        Err(error) if error.reason() == Some(ErrorReason::ScopeRequired) => Ok(Facts(None)),
        Err(error) => Err(error.into()),
    }
}

struct Session<'a> {
    with: Beginning,
    facts: Facts,
    /// The person said whether the model thinks.
    thinks_by_choice: bool,
    conversation: Conversation,
    editor: LineEditor,
    output: &'a mut Output,
    interrupts: &'a mut Interrupts,
}

impl Session<'_> {
    async fn talk(&mut self) -> Result<(), Failure> {
        let mut initial = String::new();
        loop {
            let next = match self.typed(std::mem::take(&mut initial)).await? {
                Typed::End => Next::Leave,
                Typed::Interrupted { was_empty } => {
                    if was_empty {
                        self.say("\nUse Ctrl + d or /bye to exit.")?;
                    }
                    Next::Read
                }
                Typed::Compose(text) => match composing::compose(&text, self.interrupts).await {
                    Ok(text) => Next::Edit(text),
                    Err(error) => {
                        self.say(&format!("error: {error}"))?;
                        Next::Edit(text)
                    }
                },
                Typed::Line(line) => self.take(&line).await?,
            };
            match next {
                Next::Read => {}
                Next::Edit(text) => initial = text,
                Next::Leave => return Ok(()),
            }
        }
    }

    /// What is typed next. Where the line editor leaves Ctrl-C to the terminal, it is a signal.
    async fn typed(&mut self, initial: String) -> Result<Typed, Failure> {
        self.interrupts.forget();
        let reading = self.editor.read(initial);
        let mut reading = std::pin::pin!(reading);
        loop {
            tokio::select! {
                typed = &mut reading => return typed,
                () = self.interrupts.next() => self.output.styled("\nUse Ctrl + d or /bye to exit.\n>>> ")?,
            }
        }
    }

    async fn take(&mut self, line: &str) -> Result<Next, Failure> {
        if !line.trim().is_empty() {
            self.remember(line);
        }
        match commands::parse(line) {
            Line::Nothing => {}
            Line::Command(Command::Bye) => return Ok(Next::Leave),
            Line::Command(command) => self.obey(command).await?,
            Line::Prompt(prompt) => self.ask(prompt).await?,
            Line::Unknown { word } => match pictures::take_from(line) {
                Ok(taken) if self.facts.can("vision") && !taken.pictures.is_empty() => self.ask(line.to_owned()).await?,
                _ => self.say(&format!("Unknown command '{word}'. Type /? for help"))?,
            },
        }
        Ok(Next::Read)
    }

    fn remember(&mut self, line: &str) {
        self.editor.remember(line);
        let Some(history) = self.with.history.as_ref().filter(|_| self.with.keeps_history) else { return };
        if let Err(error) = history.add(line) {
            // Once is enough.
            self.note(&format!("tollgate: what is asked can't be kept in {}: {error}", history.path().display()));
            self.with.keeps_history = false;
        }
    }

    /// Asks the model, and shows what it says. Only what leaves nothing to go on with is a failure.
    async fn ask(&mut self, prompt: String) -> Result<(), Failure> {
        let Some(prompt) = self.message(prompt)? else { return Ok(()) };
        let request_id = new_request_id();
        let turns = self.conversation.asking(self.with.settings.system.as_deref(), &prompt);
        let request = self.with.settings.request(&self.with.model, turns, request_id.clone());
        let said = {
            let _held_back = self.with.modes.hold_back_typing();
            turn::show(self.with.client.chat(request), self.with.manner, self.output, self.interrupts).await
        };
        match said.end {
            End::Finished(finished) => {
                self.note(&turn::short_receipt_line(&finished, &request_id));
                if let Some(usage) = finished.usage.as_ref().filter(|_| self.with.verbose) {
                    self.say("")?;
                    turn::statistics(usage).iter().for_each(|line| hint(line));
                    self.note(&format!("request:              {request_id}"));
                }
                if said.content.is_empty() {
                    self.note("The model said nothing: the conversation goes on without this question.");
                }
                self.conversation.keep(prompt, said.content);
            }
            End::Stopped => {
                self.tell_cost_of_stopped(&request_id).await;
                if said.content.is_empty() {
                    self.note("The conversation goes on without this question.");
                }
                self.conversation.keep(prompt, said.content);
            }
            End::Failed(failure) if ends_all(&failure) => return Err(failure),
            End::Failed(failure) => {
                self.tell(&failure, "; /clear begins a new conversation");
                self.note("The conversation goes on without this question; Up brings it back to ask again.");
            }
        }
        self.say("")
    }

    /// What a person asks, with its pictures; `None` when that can't be sent, which was said.
    fn message(&mut self, prompt: String) -> Result<Option<Message>, Failure> {
        if !self.facts.can("vision") {
            return Ok(Some(message::user(prompt)));
        }
        let taken = match pictures::take_from(&prompt) {
            Ok(taken) => taken,
            Err(said) => {
                self.say(&said)?;
                return Ok(None);
            }
        };
        let mut message = message::user(taken.text);
        for (path, picture) in taken.pictures {
            self.say(&format!("Added image '{}'", path.display()))?;
            message.images.push(picture);
        }
        Ok(Some(message))
    }

    /// A stopped answer has a price as well, and it is known as soon as the service has noticed.
    async fn tell_cost_of_stopped(&mut self, request_id: &str) {
        let client = &self.with.client;
        let charged = async {
            loop {
                let receipt = client.receipt(request_id).await.ok()?;
                if receipt.state() != RequestState::Held {
                    return Some(receipt);
                }
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
            }
        };
        // Ctrl-C again: it needn't be known.
        let waited = self.interrupts.or(tokio::time::timeout(CHARGED_WITHIN, charged)).await;
        match waited.and_then(Result::ok).flatten() {
            Some(receipt) => {
                self.note(&format!("stopped; {} charged, {} left", credits(receipt.charged_credits()), receipt.remaining_credits()));
            }
            None => self.note(&format!("stopped; what was generated until then is charged: tollgate receipt {request_id}")),
        }
    }

    async fn obey(&mut self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Bye => Ok(()),
            Command::Wrong(said) => self.say(&said),
            Command::Help(which) => {
                self.say(help::text(which))?;
                if which == Help::Commands && self.facts.can("vision") { self.say(help::PICTURES) } else { Ok(()) }
            }
            Command::Clear => {
                self.conversation.clear();
                self.say("Cleared session context")
            }
            Command::List(prefix) => {
                let listed = self.interrupts.or(self.with.client.list_models()).await;
                match listed {
                    None => Ok(()),
                    Some(Ok(found)) => self.output.table(&models::table(found.into_iter().filter(|model| model.name.starts_with(&prefix)))),
                    Some(Err(error)) => self.go_on_after(error.into()),
                }
            }
            Command::Load(model) => self.load(model).await,
            Command::Save(name) => self.save(&name).await,
            Command::Show(what) => self.show(what).await,
            Command::Set(set) => self.set(set),
        }
    }

    async fn load(&mut self, model: String) -> Result<(), Failure> {
        self.say(&format!("Loading model '{model}'"))?;
        match self.interrupts.or(facts(&self.with.client, &model)).await {
            None => Ok(()),
            Some(Ok(facts)) => {
                self.facts = facts;
                self.with.model = model;
                self.conversation.clear();
                self.choose_thinking();
                // What was chosen before stays, and the model would refuse each question for it.
                if self.with.settings.think.as_deref().is_some_and(|level| level != "off") {
                    self.warn_of_thinking();
                }
                Ok(())
            }
            Some(Err(Failure::Call(error))) if error.reason() == Some(ErrorReason::ModelNotFound) => {
                self.say(&format!("Couldn't find model '{model}'"))
            }
            Some(Err(failure)) => self.go_on_after(failure),
        }
    }

    async fn save(&mut self, name: &str) -> Result<(), Failure> {
        let modelfile = match saving::modelfile(&self.with.model, &self.with.settings, self.conversation.turns()) {
            Ok(modelfile) => modelfile,
            Err(said) => return self.say(&format!("error: {said}")),
        };
        let client = &self.with.client;
        let made = async {
            let mut steps = client.create_model(name, &modelfile).await?;
            while let Some(step) = steps.next().await {
                step?;
            }
            Ok::<(), Error>(())
        };
        match self.interrupts.or(made).await {
            None => Ok(()),
            Some(Ok(())) => self.say(&format!("Created new model '{name}'")),
            Some(Err(error)) => self.go_on_after(error.into()),
        }
    }

    async fn show(&mut self, what: Show) -> Result<(), Failure> {
        match what {
            Show::Info => match self.interrupts.or(self.with.client.show_model(&self.with.model)).await {
                None => Ok(()),
                Some(Ok(shown)) => self.output.fields(&models::fields(self.with.model.clone(), shown)),
                Some(Err(error)) => self.go_on_after(error.into()),
            },
            Show::License => self.say("Tollgate doesn't tell a model's license: whoever runs the model server knows it."),
            Show::Modelfile => self.say("Tollgate doesn't show Modelfiles: whoever runs the model server has them."),
            Show::Template => self.say("Tollgate doesn't show a model's prompt template: whoever runs the model server has it."),
            Show::Parameters => {
                let parameters = self.with.settings.parameters();
                if parameters.is_empty() {
                    return self.say("No parameters were set here: the model's own count, and Tollgate doesn't show those.");
                }
                self.say("User defined parameters:")?;
                parameters.iter().try_for_each(|(name, value)| self.say(&format!("  {name:<30} {value}")))?;
                self.say("")
            }
            Show::System => match self.with.settings.system.clone() {
                Some(system) => self.say(&format!("{system}\n")),
                None => self.say("No system message was set here: the model's own counts, if it has one, and Tollgate doesn't show that."),
            },
        }
    }

    fn set(&mut self, set: Set) -> Result<(), Failure> {
        let with = &mut self.with;
        let said = match set {
            Set::Parameter(name, values) => match with.settings.set(&name, &values) {
                Ok(()) => format!("Set parameter '{name}' to '{}'", values.join(", ")),
                Err(error) => format!("Couldn't set parameter: {error:?}"),
            },
            Set::System(text) => {
                let said = if text.is_empty() { "Took the system message away." } else { "Set system message." };
                with.settings.system = Some(text).filter(|text| !text.is_empty());
                said.to_owned()
            }
            Set::History(keeps) => {
                with.keeps_history = keeps;
                match with.history.as_ref().filter(|_| keeps) {
                    Some(history) => format!("What is asked is kept in {}.", history.path().display()),
                    None if keeps => "What is asked can't be kept: there is no home folder.".to_owned(),
                    None => "What is asked from now on is not kept on disk.".to_owned(),
                }
            }
            Set::WordWrap(wraps) => {
                with.manner.word_wrap = wraps;
                if wraps { "Set 'wordwrap' mode." } else { "Set 'nowordwrap' mode." }.to_owned()
            }
            Set::Verbose(verbose) => {
                with.verbose = verbose;
                if verbose { "Set 'verbose' mode." } else { "Set 'quiet' mode." }.to_owned()
            }
            Set::Json(json) => {
                with.settings.format = json.then_some(Format { kind: Some(format::Kind::Json(true)) });
                if json { "Set format to 'json' mode." } else { "Disabled format." }.to_owned()
            }
            Set::Think(level) => {
                let said = match level.as_str() {
                    "on" => "Set 'think' mode.".to_owned(),
                    "off" => "Set 'nothink' mode.".to_owned(),
                    level => format!("Set 'think' mode to '{level}'."),
                };
                with.settings.think = Some(level);
                self.thinks_by_choice = true;
                self.warn_of_thinking();
                said
            }
        };
        self.say(&said)
    }

    fn warn_of_thinking(&self) {
        if self.facts.0.is_some() && !self.facts.can("thinking") {
            self.note(&format!("warning: model {:?} does not support thinking output", self.with.model));
        }
    }

    /// A model that can think does, unless the person said otherwise.
    fn choose_thinking(&mut self) {
        if !self.thinks_by_choice {
            self.with.settings.think = self.facts.can("thinking").then(|| "on".to_owned());
        }
    }

    /// Says what failed. What can't get better ends the session.
    fn go_on_after(&mut self, failure: Failure) -> Result<(), Failure> {
        if ends_all(&failure) {
            return Err(failure);
        }
        self.tell(&failure, "");
        Ok(())
    }

    /// `advice`: what to do when what was asked, or was said before, is what can't be answered.
    fn tell(&self, failure: &Failure, advice: &str) {
        let Some(line) = failure::line(failure) else { return };
        let advice = if is_of_the_conversation(failure) { advice } else { "" };
        self.note(&format!("tollgate: {line}{advice}"));
    }

    fn note(&self, text: &str) {
        turn::note(text, self.with.manner);
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.output.piece(text)?;
        self.output.piece("\n")
    }
}

/// Whether whatever is asked next will fail as well: nobody listens, or the credential is good for nothing any more.
fn ends_all(failure: &Failure) -> bool {
    match failure {
        Failure::Call(Error::SessionEnded(_) | Error::Configuration(_)) => true,
        Failure::Call(error) => matches!(
            error.reason(),
            Some(
                ErrorReason::CredentialMissing
                    | ErrorReason::CredentialInvalid
                    | ErrorReason::CredentialExpired
                    | ErrorReason::CredentialRevoked
            )
        ),
        Failure::Usage(_) | Failure::Cancelled { .. } => false,
        Failure::Io { .. }
        | Failure::NoSession { .. }
        | Failure::OtherServer { .. }
        | Failure::Keychain(_)
        | Failure::NotSet(_)
        | Failure::ReaderGone
        | Failure::Interrupted
        | Failure::Ended { .. }
        | Failure::NotThere(_)
        | Failure::Declined(_)
        | Failure::Denied(_)
        | Failure::Late(_) => true,
    }
}

/// Whether the next question may fail as this one did, because of what was said before it.
fn is_of_the_conversation(failure: &Failure) -> bool {
    let Failure::Call(error) = failure else { return false };
    matches!(error.reason(), Some(ErrorReason::MessageTooLarge | ErrorReason::InvalidArgument | ErrorReason::UpstreamRejected))
}
