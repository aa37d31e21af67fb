/* Input source of a board that has none. */
#include "vp/board.h"

int vp_board_source_start(void)
{
    return -1;
}

int vp_board_capture_begin(vp_capture *capture)
{
    (void)capture;
    return -1;
}

int vp_board_capture_poll(vp_capture *capture)
{
    (void)capture;
    return -1;
}

void vp_board_capture_cancel(void)
{
}
