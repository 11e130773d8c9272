//! Shared by both programs: stub
