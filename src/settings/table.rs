//! How the settings of a program are declared: each once, as a constant of its own name, so that a
//! misspelt name does not compile.

/// Declares settings as constants, and `SETTINGS`, the table of all of them in their order.
///
/// `NAME: "help";` has no default, `NAME = "default": "help";` has one, and `NAME (secret): "help";`
/// is never shown and may stand in a file.
macro_rules! settings {
    (
        $all:literal
        $($name:ident $(= $default:literal)? $(($secret:ident))?: $help:literal;)*
    ) => {
        use $crate::settings::raw::Setting;

        $(
            #[doc = $help]
            pub const $name: Setting = Setting {
                name: stringify!($name),
                default: $crate::settings::table::settings!(@default $($default)?),
                is_secret: $crate::settings::table::settings!(@is_secret $($secret)?),
                help: $help,
            };
        )*

        #[doc = $all]
        pub const SETTINGS: &[Setting] = &[$($name),*];
    };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
    (@is_secret) => { false };
    (@is_secret secret) => { true };
}

pub(super) use settings;
