/* The runtime's hooks in a node's image. */
#include "vp/board.h"
#include "vp_tflm.h"

void abort(void);

void vp_tflm_before_operator(const char *name)
{
    (void)name;
    vp_board_feed_watchdog();
}

/* A node has nobody to tell: vp_model_begin and vp_model_step say that they failed. */
void vp_tflm_log(const char *format, va_list arguments)
{
    (void)format;
    (void)arguments;
}

/* Where a check of the runtime fails: a fault, which the board records and ends with a reset. */
void abort(void)
{
    __builtin_trap();
}
