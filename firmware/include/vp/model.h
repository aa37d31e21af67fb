/**
 * @file vp/model.h
 * A compiled model: what `vp compile` writes and what a node, a test or a user's own program runs.
 *
 * One `vp_model` is constant data. All state of one inference lives in an arena that the caller
 * owns, so one model may run in several arenas at once. The input is never there as a whole: its
 * rows are given one after another, each as late as it is wanted. Between two steps the caller may
 * feed a watchdog or serve its I/O, and must leave the arena alone.
 *
 *     static vp_arena_t arena[VP_ARENA_WORDS(MY_MODEL_ARENA_SIZE)];
 *     vp_model_invoke(&my_model, arena, image);
 *     const int8_t *scores = vp_model_output(&my_model, arena);
 *
 * or, with rows that arrive one by one:
 *
 *     vp_model_begin(&my_model, arena);
 *     while (!vp_model_done(&my_model, arena)) {
 *         int8_t *row = vp_model_row_wanted(&my_model, arena);
 *         if (row != NULL) {
 *             (write my_model.input_row_size values to row)
 *             vp_model_row_given(&my_model, arena);
 *         } else if (vp_model_step(&my_model, arena) < 0) {
 *             (the runtime failed: there is no output)
 *             break;
 *         }
 *     }
 */
#ifndef VP_MODEL_H
#define VP_MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Unit of an arena: gives it the alignment (8 bytes) that every kernel may rely on. */
typedef uint64_t vp_arena_t;

/** Number of vp_arena_t that hold `bytes` bytes. */
#define VP_ARENA_WORDS(bytes) (((bytes) + sizeof(vp_arena_t) - 1u) / sizeof(vp_arena_t))

/** Bytes of the hash that names a model: the first 8 of BLAKE2s-256 over its .tflite file. */
#define VP_MODEL_HASH_SIZE 8u

/** Highest rank of an input or output tensor. */
#define VP_MODEL_MAX_DIMS 4u

/** Stage 0 of a schedule: the caller gives a row of the input. */
#define VP_MODEL_INPUT 0u

/** An entry of a schedule: stage 0 .. 1023 in the low ten bits, number of calls - 1 above them. */
#define VP_MODEL_STAGE_BITS 10u

/** An int8 tensor at the border of the model: real = scale * (q - zero_point). */
typedef struct vp_tensor {
    uint32_t offset;                   /**< Bytes from the start of the arena. */
    uint32_t size;                     /**< Bytes, the product of dims. */
    uint32_t dims[VP_MODEL_MAX_DIMS];  /**< Batch (always 1) first; unused trailing ones are 1. */
    uint32_t dim_count;                /**< 1 .. VP_MODEL_MAX_DIMS. */
    float scale;
    int32_t zero_point;                /**< -128 .. 127. */
} vp_tensor;

typedef struct vp_model {
    const char *name;
    uint8_t hash[VP_MODEL_HASH_SIZE];
    uint32_t arena_size;       /**< Bytes the arena needs: activations, scratch, the state of an inference. */
    vp_tensor input;           /**< `offset` is that of the ring of input rows. */
    vp_tensor output;
    uint32_t input_row_size;   /**< Bytes of one row of the input. */
    uint32_t input_ring;       /**< Rows of the input that the arena holds. */
    uint32_t stage_count;      /**< Stages, the input included. */
    uint32_t schedule_size;    /**< Entries of `schedule`. */
    const uint16_t *schedule;  /**< Which stage makes its next row, from the first to the last. */
    /** Runs stage `stage` (1 .. stage_count - 1) for row `row`. */
    void (*run)(uint32_t stage, int32_t row, vp_arena_t *arena);
} vp_model;

/** Starts an inference: forgets what the arena holds. @return 0, or negative if the runtime refuses
 *  (a compiled model never does). */
int vp_model_begin(const vp_model *model, vp_arena_t *arena);

/** Where the next row of the input goes (input_row_size bytes), in order from row 0; NULL while
 *  steps must run first, and once no more rows are wanted. */
int8_t *vp_model_row_wanted(const vp_model *model, vp_arena_t *arena);

/** Says that the row which vp_model_row_wanted asked for has been written. */
void vp_model_row_given(const vp_model *model, vp_arena_t *arena);

/** Number of the row that vp_model_row_wanted asks for. */
uint32_t vp_model_row_number(const vp_model *model, const vp_arena_t *arena);

/** Runs one step. @return 1, or 0 if there is none: a row is wanted, or all is done; negative if the
 *  runtime failed (a compiled model never does). */
int vp_model_step(const vp_model *model, vp_arena_t *arena);

/** Whether the output is there. */
int vp_model_done(const vp_model *model, const vp_arena_t *arena);

/** Runs a whole inference on `input` (input.size values), which stays the caller's. */
void vp_model_invoke(const vp_model *model, vp_arena_t *arena, const int8_t *input);

/** Where the output stands once the inference is done, until the next one begins. */
const int8_t *vp_model_output(const vp_model *model, const vp_arena_t *arena);

#ifdef __cplusplus
}
#endif

#endif
