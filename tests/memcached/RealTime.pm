# Lets time pass where memcached's own tests move memcached's clock, by a command that only its
# debug build has. Loaded before a test, by `perl -MRealTime`.
package RealTime;
use strict;
use warnings;

INIT {
    no warnings 'redefine';
    # A second more: who has stored something late in a second counts from its beginning.
    *main::mem_move_time = sub { select undef, undef, undef, $_[1] + 1 };
}

1;
