"""Until when each value is kept and why: schedules, clocks, ends, holds and reviews."""
