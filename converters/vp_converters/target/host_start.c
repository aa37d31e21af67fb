/* The same program on the host: no start-up, no instruction counter. */
#include "machine.h"

void vp_target_start(void)
{
}

vp_target_time vp_target_now(void)
{
    return (vp_target_time){0, 0};
}

uint64_t vp_target_since(vp_target_time begin)
{
    (void)begin;
    return 0;
}
