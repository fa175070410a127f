//! What the UI sees of the stores: its readers' own questions, with their types, in every state
//! that the stores come to. See `support::readers` for the readers.

mod adopted;
mod check;
mod everything;
mod first_run;
mod other_makers;
mod version_0_1_0;
