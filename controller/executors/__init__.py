"""How runs become processes: the records of a start and an end, the Local executor, and what finds processes that a crash left behind."""
