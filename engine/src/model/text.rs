//! Enumerations on the wire that may grow: a closed set of names, and room for one that this version does not know.
//!
//! Such a name is never an error: it is kept and written back as it came. Proof: `unknown_names_come_back`.

/// An enumeration whose values are texts, with `Other` for any that is not listed.
macro_rules! open_text {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $value:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $value,)+
            /// One that this version does not know.
            Other(String),
        }

        impl $name {
            /// As it stands on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$value => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$value,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                Ok(Self::from(&*text))
            }
        }
    };
}

pub(crate) use open_text;

open_text! {
    /// Who speaks, or for whom something is meant.
    Role {
        /// The user.
        User = "user",
        /// The model.
        Assistant = "assistant",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_names_come_back() {
        for (text, role) in [
            ("user", Role::User),
            ("assistant", Role::Assistant),
            ("Tutor \"1\"", Role::Other("Tutor \"1\"".to_owned())),
        ] {
            assert_eq!(serde_json::from_value::<Role>(json!(text)).unwrap(), role);
            assert_eq!(serde_json::to_value(&role).unwrap(), json!(text));
            assert_eq!(role.to_string(), text);
        }
        assert!(serde_json::from_value::<Role>(json!(7)).is_err());
    }
}
