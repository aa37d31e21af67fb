/**
 * @file vp_tflm.h
 * A model on TensorFlow Lite Micro behind the API of vp/model.h, for what the compiler does not
 * support: model.cc implements that API with a MicroInterpreter, `vp build --runtime tflm`
 * generates the model's own part, and the program around it gives two hooks.
 *
 * A program holds one such model. Its interpreter is set up by the first vp_model_begin in an
 * arena and keeps its structures there, so the arena belongs to the model from then on.
 */
#ifndef VP_TFLM_H
#define VP_TFLM_H

#include <stdarg.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The model's part: the .tflite file, aligned to 16 bytes. */
extern const unsigned char vp_tflm_file[];

/** Bytes of the arena that the interpreter took at its last start; 0 before one succeeded. What an
 *  operator allocates while it runs comes on top. */
size_t vp_tflm_arena_used(void);

/** Hook: operator `name` runs next. Feeds the watchdog, for one inference is one step. A library
 *  built with BUILD_TYPE=release never calls it. */
void vp_tflm_before_operator(const char *name);

/** Hook: a message of the runtime, as for vprintf; why it refuses a model. */
void vp_tflm_log(const char *format, va_list arguments);

#ifdef __cplusplus
}

namespace tflite {
class MicroOpResolver;
}

/** The model's part: its operators and no others; nullptr if they do not fit the runtime. */
const tflite::MicroOpResolver *vp_tflm_operators();
#endif

#endif
