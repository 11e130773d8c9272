//! What goes wrong while grants are open: nothing stays open longer than its time, and nothing is lost that should be open.

mod clock;
