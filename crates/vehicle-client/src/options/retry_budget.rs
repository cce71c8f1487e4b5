use settings::section;

section! {
    /// How many retries there may be.
    #[derive(Copy)]
    pub struct BudgetOptions {
        /// Retries earned by each good call.
        pub retries_per_good_call: f64 = 0.1, in 0.0..=1.0;
        /// Retries earned by each second, so that a quiet service may retry as well.
        pub retries_per_second: f64 => 0.5;
        /// Most retries that can be saved up.
        pub max_saved: f64 => 3.0;
    }
    removed {
        "retries_per_second" => "is 0.5",
        "max_saved" => "is 3",
    }
}
