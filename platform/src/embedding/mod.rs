//! `platform-embedding`: text becomes vectors.
