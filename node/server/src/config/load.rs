//! From file, environment and flags to a checked configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use thiserror::Error;

use super::{Config, Listen, SECTIONS, check, text};

const PREFIX: &str = "BELFRY_";
/// Between section and key of a variable; see the module's documentation for why it is not one underscore.
const SEPARATOR: &str = "__";

/// Where to read from, beside the defaults.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables; all of them may be passed, see the module's documentation.
    pub environment: Vec<(String, String)>,
    /// Flags, as pairs of dotted key and text: `("node.id", "2")`.
    pub overrides: Vec<(String, String)>,
}

impl LoadOptions {
    /// Reads `file`, the environment of this process, and `overrides`.
    pub fn from_process(file: Option<PathBuf>, overrides: Vec<(String, String)>) -> Self {
        // A variable that is not UTF-8 cannot be one of ours.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { file, environment: std::env::vars_os().filter_map(text).collect(), overrides }
    }
}

/// Where each value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance(BTreeMap<String, String>);

impl Provenance {
    /// The origin of a dotted key: `default`, `file X`, `environment BELFRY_…` or `flag`.
    pub fn origin(&self, key: &str) -> &str {
        self.0.get(key).map_or(DEFAULT, String::as_str)
    }
}

/// A value that does not do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{key}` (from {origin}): {why}")]
pub struct Problem {
    /// Dotted name of the field.
    pub key: String,
    /// Where its value comes from.
    pub origin: String,
    /// What is wrong and what would do.
    pub why: String,
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {} is not TOML: {why}", path.display())]
    NotToml {
        /// Which file.
        path: PathBuf,
        /// Where and what, in the parser's words.
        why: String,
    },
    /// CONFIG-1.
    #[error("unknown key `{key}` in {origin}: {hint}")]
    UnknownKey {
        /// The key as given.
        key: String,
        /// Where it stands.
        origin: String,
        /// What there is instead.
        hint: String,
    },
    /// A value of the wrong kind.
    #[error(transparent)]
    Value(Problem),
    /// Values that contradict each other or leave their bounds.
    #[error("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid {
        /// All of them.
        problems: Vec<Problem>,
    },
}

const DEFAULT: &str = "default";

/// Values from one place.
struct Layer {
    origin: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

pub(super) fn load(options: LoadOptions) -> Result<(Config, Provenance), ConfigError> {
    let mut given = Vec::new();
    given.extend(options.file.map(from_file).transpose()?);
    for (name, value) in &options.environment {
        given.extend(from_variable(name, value)?);
    }
    for (key, value) in &options.overrides {
        given.push(from_text(key, value, "flag".to_owned())?);
    }
    for layer in &given {
        refuse_unknown(layer)?;
    }

    let (mut config, figment) = merge(&given, Config::default())?;
    let mut figment = figment;
    if !config.is_alone() {
        let defaults = Config { listen: Listen::on_all_interfaces(), ..Config::default() };
        (config, figment) = merge(&given, defaults)?;
    } else if config.node.id == 0 {
        config.node.id = 1;
    }
    let provenance = provenance(&figment);
    let problems = check::check(&config, &provenance);
    if problems.is_empty() { Ok((config, provenance)) } else { Err(ConfigError::Invalid { problems }) }
}

fn merge(given: &[Layer], defaults: Config) -> Result<(Config, Figment), ConfigError> {
    let defaults = Value::serialize(defaults).expect("the defaults are plain values");
    let defaults = defaults.into_dict().expect("the configuration is a table");
    let layers = std::iter::once(Layer { origin: DEFAULT.to_owned(), values: defaults }).chain(
        given.iter().map(|layer| Layer { origin: layer.origin.clone(), values: layer.values.clone() }),
    );
    let figment = layers.fold(Figment::new(), Figment::merge);
    let config = figment.extract::<Config>().map_err(|error| {
        let origin = error.metadata.as_ref().map_or_else(|| DEFAULT.to_owned(), |from| from.name.to_string());
        ConfigError::Value(Problem { key: error.path.join("."), origin, why: error.kind.to_string() })
    })?;
    Ok((config, figment))
}

fn from_file(path: PathBuf) -> Result<Layer, ConfigError> {
    let text = std::fs::read_to_string(&path)
        .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
    let values = Toml::from_str::<Dict>(&text).map_err(|error| ConfigError::NotToml {
        path: path.clone(),
        why: error.to_string().trim_end().to_owned(),
    })?;
    Ok(Layer { origin: format!("file {}", path.display()), values })
}

fn from_variable(name: &str, value: &str) -> Result<Option<Layer>, ConfigError> {
    let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(None) };
    let origin = format!("environment {name}");
    if let Some((section, field)) = rest.split_once(SEPARATOR) {
        let key = format!("{}.{}", section.to_lowercase(), field.to_lowercase());
        return from_text(&key, value, origin).map(Some);
    }
    // One underscore short of a key: almost certainly meant, and silence would be worse than a refusal.
    for (key, variable) in keys().map(|key| (key.clone(), variable(&key))) {
        if name == variable.replace(SEPARATOR, "_") {
            return Err(ConfigError::UnknownKey { key, origin, hint: format!("write {variable}") });
        }
    }
    Ok(None)
}

/// The variable of a dotted key.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', SEPARATOR))
}

fn from_text(key: &str, value: &str, origin: String) -> Result<Layer, ConfigError> {
    let (section, field) =
        key.split_once('.').ok_or_else(|| unknown(key, &origin, "write section.key, as in node.id"))?;
    let defaults = text::values(&Config::default());
    // A text that looks like a number stays a text where a text is wanted.
    let value = match &defaults[section][field] {
        serde_json::Value::String(_) => Value::from(value),
        _ => value.parse::<Value>().unwrap_or_else(|_| Value::from(value)),
    };
    let values = Dict::from([(section.to_owned(), Value::from(Dict::from([(field.to_owned(), value)])))]);
    Ok(Layer { origin, values })
}

fn refuse_unknown(layer: &Layer) -> Result<(), ConfigError> {
    for (section, values) in &layer.values {
        let Some(known) = SECTIONS.iter().find(|known| known.name == section) else {
            let sections = SECTIONS.iter().map(|section| section.name).collect::<Vec<_>>();
            let hint = format!("the sections are {}", sections.join(", "));
            return Err(unknown(section, &layer.origin, &hint));
        };
        let Some(values) = values.as_dict() else {
            return Err(unknown(section, &layer.origin, &format!("write it as a section, [{section}]")));
        };
        for field in values.keys() {
            if !known.fields.iter().any(|(name, _)| name == field) {
                let fields = known.fields.iter().map(|(name, _)| *name).collect::<Vec<_>>();
                let hint = format!("the keys of [{section}] are {}", fields.join(", "));
                return Err(unknown(&format!("{section}.{field}"), &layer.origin, &hint));
            }
        }
    }
    Ok(())
}

fn unknown(key: &str, origin: &str, hint: &str) -> ConfigError {
    ConfigError::UnknownKey { key: key.to_owned(), origin: origin.to_owned(), hint: hint.to_owned() }
}

/// All dotted keys.
pub(super) fn keys() -> impl Iterator<Item = String> {
    SECTIONS
        .iter()
        .flat_map(|section| section.fields.iter().map(|(field, _)| format!("{}.{field}", section.name)))
}

fn provenance(figment: &Figment) -> Provenance {
    let origin = |key: &str| figment.find_metadata(key).map(|from| from.name.to_string());
    Provenance(keys().filter_map(|key| Some((key.clone(), origin(&key)?))).collect())
}
