//! Typed parameters of a method, from which parsing, range checks, listings, documentation and the editor schema follow.
//!
//! A method declares them once:
//!
//! ```
//! harness_core::parameters! {
//!     /// What the method is set to.
//!     pub struct Settings {
//!         /// Share of weights removed.
//!         sparsity: f64 = 0.5, harness_core::Domain::half_open(0.0, 1.0);
//!         /// Columns handled at a time.
//!         block: usize = 128, harness_core::Domain::closed(1.0, 65536.0);
//!     }
//! }
//! use harness_core::Parameters;
//! let arm = "x(sparsity=0.25)".parse().unwrap();
//! assert_eq!(Settings::resolve(&arm).unwrap().sparsity, 0.25);
//! ```

use std::fmt;

use crate::arm::Arm;
use crate::nearest::nearest;
use crate::value::{Pattern, Value};

/// The kind of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Float,
    /// A whole number.
    Int,
    /// `true` or `false`.
    Bool,
    /// Free text.
    Text,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// An N:M pattern.
    Pattern,
    /// A list of numbers.
    Numbers,
    /// A list of texts.
    Texts,
}

/// The numbers a parameter may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Domain {
    /// Lower end.
    pub low: f64,
    /// Whether the lower end itself is allowed.
    pub low_included: bool,
    /// Upper end.
    pub high: f64,
    /// Whether the upper end itself is allowed.
    pub high_included: bool,
}

impl Domain {
    /// Every number; for parameters that are not numbers as well.
    pub const ANY: Self = Self { low: f64::NEG_INFINITY, low_included: true, high: f64::INFINITY, high_included: true };

    /// `[low, high]`.
    pub const fn closed(low: f64, high: f64) -> Self {
        Self { low, low_included: true, high, high_included: true }
    }

    /// `[low, high)`.
    pub const fn half_open(low: f64, high: f64) -> Self {
        Self { low, low_included: true, high, high_included: false }
    }

    /// `(low, high]`.
    pub const fn above(low: f64, high: f64) -> Self {
        Self { low, low_included: false, high, high_included: true }
    }

    /// `(low, high)`.
    pub const fn open(low: f64, high: f64) -> Self {
        Self { low, low_included: false, high, high_included: false }
    }

    /// Whether a number lies in the domain. NaN never does.
    pub fn contains(&self, value: f64) -> bool {
        (value > self.low || (self.low_included && value == self.low))
            && (value < self.high || (self.high_included && value == self.high))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = if self.low_included { '[' } else { '(' };
        let close = if self.high_included { ']' } else { ')' };
        write!(f, "{open}{}, {}{close}", self.low, self.high)
    }
}

/// What is known of one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    /// Name, `snake_case`.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Kind of value.
    pub kind: Kind,
    /// Allowed numbers.
    pub domain: Domain,
    /// Value when it is not set; [`Value::Unset`] when it may stay unset.
    pub default: Value,
}

impl ParameterSpec {
    /// Checks one value against kind and domain and gives it in the parameter's own kind.
    ///
    /// # Errors
    /// [`ParameterError::Kind`] or [`ParameterError::Range`].
    pub fn check(&self, value: &Value) -> Result<Value, ParameterError> {
        let wrong = |expected: &str| ParameterError::Kind {
            name: self.name,
            expected: expected.to_owned(),
            found: value.clone(),
        };
        let ranged = |number: f64, value: Value| {
            if self.domain.contains(number) {
                Ok(value)
            } else {
                Err(ParameterError::Range { name: self.name, domain: self.domain, found: value })
            }
        };
        if *value == Value::Unset && self.default == Value::Unset {
            return Ok(Value::Unset);
        }
        match (self.kind, value) {
            (Kind::Float, Value::Float(number)) => ranged(*number, value.clone()),
            (Kind::Float, Value::Int(number)) => ranged(*number as f64, Value::Float(*number as f64)),
            (Kind::Float, _) => Err(wrong("a number")),
            (Kind::Int, Value::Int(number)) => ranged(*number as f64, value.clone()),
            (Kind::Int, Value::Float(number)) if number.fract() == 0.0 && number.abs() < 9e15 => {
                ranged(*number, Value::Int(*number as i64))
            }
            (Kind::Int, _) => Err(wrong("a whole number")),
            (Kind::Bool, Value::Bool(_)) | (Kind::Text, Value::Text(_)) => Ok(value.clone()),
            (Kind::Bool, _) => Err(wrong("true or false")),
            (Kind::Text, _) => Err(wrong("text")),
            (Kind::Choice(words), Value::Text(text)) if words.contains(&text.as_str()) => Ok(value.clone()),
            (Kind::Choice(words), _) => Err(wrong(&format!("one of {}", words.join(", ")))),
            (Kind::Pattern, Value::Text(text)) => text
                .parse::<Pattern>()
                .map(|p| Value::Text(p.to_string()))
                .map_err(|why| ParameterError::Pattern { name: self.name, why }),
            (Kind::Pattern, _) => Err(wrong("a pattern such as 2:4")),
            (Kind::Numbers, Value::List(numbers)) => {
                let one = |value: &Value| match value {
                    Value::Float(number) => ranged(*number, value.clone()),
                    Value::Int(number) => ranged(*number as f64, Value::Float(*number as f64)),
                    _ => Err(wrong("a list of numbers")),
                };
                numbers.iter().map(one).collect::<Result<_, _>>().map(Value::List)
            }
            (Kind::Numbers, _) => Err(wrong("a list of numbers")),
            (Kind::Texts, Value::List(texts)) if texts.iter().all(|text| matches!(text, Value::Text(_))) => {
                Ok(value.clone())
            }
            (Kind::Texts, _) => Err(wrong("a list of texts")),
        }
    }
}

/// Why parameters were refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ParameterError {
    /// The method has no such parameter.
    #[error("`{id}` has no parameter `{name}`{}", nearest.map_or_else(|| list(known), |n| format!("; did you mean `{n}`?")))]
    Unknown {
        /// Method id.
        id: String,
        /// The name given.
        name: String,
        /// The most similar known name.
        nearest: Option<&'static str>,
        /// All known names.
        known: Vec<&'static str>,
    },
    /// A value of another kind.
    #[error("`{name}` must be {expected}, not {found}")]
    Kind {
        /// Parameter name.
        name: &'static str,
        /// What it takes.
        expected: String,
        /// What it was given.
        found: Value,
    },
    /// A number outside the domain.
    #[error("`{name} = {found}` is outside its range {domain}")]
    Range {
        /// Parameter name.
        name: &'static str,
        /// Allowed numbers.
        domain: Domain,
        /// What it was given.
        found: Value,
    },
    /// A pattern that makes no sense.
    #[error("`{name}`: {why}")]
    Pattern {
        /// Parameter name.
        name: &'static str,
        /// The reason.
        why: String,
    },
    /// Parameters that are each allowed but not together.
    #[error("{0}")]
    Together(String),
}

fn list(known: &[&str]) -> String {
    if known.is_empty() { "; it takes none".to_owned() } else { format!("; it takes {}", known.join(", ")) }
}

/// A type that a parameter can have.
pub trait ParameterValue: Sized {
    /// Its kind.
    fn kind() -> Kind;
    /// As a value.
    fn to_value(&self) -> Value;
    /// From a value that passed [`ParameterSpec::check`].
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! parameter_value {
    ($type:ty, $kind:expr, $variant:ident, $to:expr, $from:expr) => {
        impl ParameterValue for $type {
            fn kind() -> Kind {
                $kind
            }
            fn to_value(&self) -> Value {
                Value::$variant($to(self))
            }
            fn from_value(value: &Value) -> Option<Self> {
                match value {
                    Value::$variant(inner) => $from(inner),
                    _ => None,
                }
            }
        }
    };
}

parameter_value!(f64, Kind::Float, Float, |v: &f64| *v, |v: &f64| Some(*v));
parameter_value!(i64, Kind::Int, Int, |v: &i64| *v, |v: &i64| Some(*v));
parameter_value!(usize, Kind::Int, Int, |v: &usize| i64::try_from(*v).unwrap_or(i64::MAX), |v: &i64| usize::try_from(
    *v
)
.ok());
parameter_value!(bool, Kind::Bool, Bool, |v: &bool| *v, |v: &bool| Some(*v));
parameter_value!(String, Kind::Text, Text, Clone::clone, |v: &String| Some(v.clone()));
parameter_value!(Pattern, Kind::Pattern, Text, ToString::to_string, |v: &String| v.parse().ok());

parameter_value!(
    Vec<f64>,
    Kind::Numbers,
    List,
    |v: &Vec<f64>| v.iter().map(|number| Value::Float(*number)).collect(),
    |v: &Vec<Value>| v.iter().map(f64::from_value).collect()
);

parameter_value!(
    Vec<String>,
    Kind::Texts,
    List,
    |v: &Vec<String>| v.iter().map(|text| Value::Text(text.clone())).collect(),
    |v: &Vec<Value>| v.iter().map(String::from_value).collect()
);

impl<T: ParameterValue> ParameterValue for Option<T> {
    fn kind() -> Kind {
        T::kind()
    }
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Unset, T::to_value)
    }
    fn from_value(value: &Value) -> Option<Self> {
        if *value == Value::Unset { Some(None) } else { T::from_value(value).map(Some) }
    }
}

/// A struct of parameters; made by [`parameters!`](crate::parameters).
pub trait Parameters: Sized {
    /// What is known of each, in order.
    fn specs() -> Vec<ParameterSpec>;

    /// Reads an arm's parameters: unknown names, kinds and ranges are checked, the rest takes its default.
    ///
    /// # Errors
    /// The first parameter that does not fit.
    fn resolve(arm: &Arm) -> Result<Self, ParameterError>;
}

/// Checks every parameter of an arm against specifications and fills in defaults, in specification order.
///
/// # Errors
/// All parameters that do not fit.
pub fn resolve_values(arm: &Arm, specs: &[ParameterSpec]) -> Result<Vec<(String, Value)>, Vec<ParameterError>> {
    let mut errors: Vec<ParameterError> = Vec::new();
    for (name, value) in &arm.parameters {
        match specs.iter().find(|spec| spec.name == name) {
            Some(spec) => errors.extend(spec.check(value).err()),
            None => errors.push(ParameterError::Unknown {
                id: arm.id.clone(),
                name: name.clone(),
                nearest: nearest(name, specs.iter().map(|spec| spec.name)),
                known: specs.iter().map(|spec| spec.name).collect(),
            }),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(specs
        .iter()
        .map(|spec| {
            let set = arm.get(spec.name).and_then(|value| spec.check(value).ok());
            (spec.name.to_owned(), set.unwrap_or_else(|| spec.default.clone()))
        })
        .collect())
}

/// Declares a struct of parameters with documentation, default and domain of each.
#[macro_export]
macro_rules! parameters {
    (
        $(#[$struct_attribute:meta])*
        $visibility:vis struct $name:ident {
            $( #[doc = $about:literal] $(#[doc = $more:literal])* $field:ident : $type:ty = $default:expr $(, $domain:expr)? ; )*
        }
    ) => {
        $(#[$struct_attribute])*
        #[derive(Debug, Clone, PartialEq)]
        $visibility struct $name {
            $( #[doc = $about] $(#[doc = $more])* pub $field: $type, )*
        }

        impl $crate::Parameters for $name {
            fn specs() -> Vec<$crate::ParameterSpec> {
                vec![$( $crate::ParameterSpec {
                    name: stringify!($field),
                    about: concat!($about $(, $more)*).trim_ascii(),
                    kind: <$type as $crate::ParameterValue>::kind(),
                    domain: { #[allow(unused_mut, unused_assignments)] let mut domain = $crate::Domain::ANY; $( domain = $domain; )? domain },
                    default: { let default: $type = $default; $crate::ParameterValue::to_value(&default) },
                } ),*]
            }

            fn resolve(arm: &$crate::Arm) -> Result<Self, $crate::ParameterError> {
                #[allow(unused_variables)]
                let values = $crate::parameters::resolve_values(arm, &Self::specs()).map_err(|mut errors| errors.swap_remove(0))?;
                Ok(Self { $( $field: {
                    let value = values.iter().find(|(name, _)| name == stringify!($field)).map_or(&$crate::Value::Unset, |(_, value)| value);
                    <$type as $crate::ParameterValue>::from_value(value).ok_or_else(|| $crate::ParameterError::Kind {
                        name: stringify!($field),
                        expected: stringify!($type).to_owned(),
                        found: value.clone(),
                    })?
                }, )* })
            }
        }
    };
}

/// Declares an enum whose variants are the words of a choice parameter.
#[macro_export]
macro_rules! choice {
    (
        $(#[$enum_attribute:meta])*
        $visibility:vis enum $name:ident { $( $(#[$variant_attribute:meta])* $variant:ident = $word:literal ),+ $(,)? }
    ) => {
        $(#[$enum_attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $visibility enum $name { $( $(#[$variant_attribute])* $variant ),+ }

        impl $crate::ParameterValue for $name {
            fn kind() -> $crate::Kind {
                $crate::Kind::Choice(&[$($word),+])
            }
            fn to_value(&self) -> $crate::Value {
                $crate::Value::Text(match self { $( Self::$variant => $word ),+ }.to_owned())
            }
            fn from_value(value: &$crate::Value) -> Option<Self> {
                match value {
                    $crate::Value::Text(word) => match word.as_str() { $( $word => Some(Self::$variant), )+ _ => None },
                    _ => None,
                }
            }
        }
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    crate::choice! {
        /// Scope.
        pub enum Scope {
            /// One matrix.
            Layer = "layer",
            /// One row.
            Row = "row",
        }
    }

    crate::parameters! {
        /// Test parameters.
        pub struct Settings {
            /// Share removed.
            sparsity: f64 = 0.5, Domain::half_open(0.0, 1.0);
            /// Compared with what.
            scope: Scope = Scope::Layer;
            /// Structure.
            pattern: Option<Pattern> = None;
            /// Factors.
            factors: Option<Vec<f64>> = None, Domain::open(0.0, f64::INFINITY);
        }
    }

    fn resolve(text: &str) -> Result<Settings, String> {
        Settings::resolve(&text.parse().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_and_values_resolve() {
        assert_eq!(
            resolve("x").unwrap(),
            Settings { sparsity: 0.5, scope: Scope::Layer, pattern: None, factors: None }
        );
        let set = resolve("x(sparsity=0, scope=row, pattern=2:4, factors=[1, 2.5])").unwrap();
        let (pattern, factors) = (Some(Pattern { keep: 2, group: 4 }), Some(vec![1.0, 2.5]));
        assert_eq!(set, Settings { sparsity: 0.0, scope: Scope::Row, pattern, factors });
        assert_eq!(Settings::specs()[0].about, "Share removed.");
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert_eq!(resolve("x(sparsity=1)").unwrap_err(), "`sparsity = 1` is outside its range [0, 1)");
        assert_eq!(resolve("x(sparsty=1)").unwrap_err(), "`x` has no parameter `sparsty`; did you mean `sparsity`?");
        assert_eq!(resolve("x(scope=col)").unwrap_err(), "`scope` must be one of layer, row, not col");
        assert_eq!(resolve("x(factors=[1, 0])").unwrap_err(), "`factors = 0` is outside its range (0, inf)");
        assert_eq!(resolve("x(factors=2)").unwrap_err(), "`factors` must be a list of numbers, not 2");
        assert_eq!(resolve("x(pattern=3:2)").unwrap_err(), "`pattern`: pattern 3:2 keeps 3 of 2; keep at most 2");
    }
}
