/* SPDX-License-Identifier: MIT
 *
 * The bounds are those of Prometheus' client libraries, 1, 2.5 and 5 in each decade up to 10 s, so
 * that dashboards and objectives fit, and go one decade further down: a database nearby and Redis
 * answer in less than 5 ms. Below half a millisecond nginx' clock, which counts milliseconds, would
 * tell nothing; and a load of more than 10 s is a failure, whatever it took.
 */
#include "core/histogram.h"

#include <math.h>

enum { LAST = PERIGEE_HISTOGRAM_BUCKETS - 1 };

static const double bounds[LAST] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                    0.1,    0.25,  0.5,    1,     2.5,  5,     10};

PERIGEE_API double perigee_histogram_bound(int32_t i) {
  return i < LAST ? bounds[i] : HUGE_VAL;
}

/* Most events are short, so the search begins at the bottom. */
PERIGEE_API void perigee_histogram_observe(perigee_histogram *histogram, double seconds) {
  int i = 0;
  if (!(seconds > 0)) seconds = 0;
  while (i < LAST && seconds > bounds[i]) i++;
  histogram->counts[i]++;
  histogram->sum += seconds;
}
