//! One watch per kind, shared by all controllers and the scheduler.
//!
//! A [`Store`] holds the newest known state of every object of one kind, in
//! memory, indexed as its readers need. A [`reflector`] fills it by list and
//! watch. Readers [subscribe](Store::subscribe) to learn which keys may need
//! work; they get state from the store when they work, never from the change.
//!
//! Invariant: a store never goes back in time. Whoever writes to the API hands
//! the answer to the store ([`Store::wrote`]), so that the next plan sees its
//! own writes; resource versions (comparable since KEP-5504) decide which of
//! two states is newer. This replaces the "expectations" of other controllers.
//!
//! Absent on purpose: resync. Nothing is repeated unless state changed.

pub(crate) mod reflector;
mod shared;
mod store;

pub(crate) use karve_watch::ObjectName as Key;
pub(crate) use reflector::{Selection, Sink};
pub(crate) use shared::{Kinds, index};
pub(crate) use store::{Change, Store};
