/* Where the runtime's messages go in a program under semihosting: log.txt on the host. */
#include <stdio.h>

#include "vp_tflm.h"

void vp_tflm_log(const char *format, va_list arguments)
{
    FILE *log = fopen("log.txt", "a");
    if (log != NULL) {
        (void)vfprintf(log, format, arguments);
        (void)fclose(log);
    }
}
