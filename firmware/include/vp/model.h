/**
 * @file vp/model.h
 * A compiled model: what `vp compile` writes and what a node, a test or a user's own program runs.
 *
 * One `vp_model` is constant data. All state of one inference lives in an arena that the caller
 * owns, so one model may run in several arenas at once. The steps of one inference run in order,
 * 0 .. step_count - 1; between two of them the caller may feed a watchdog or serve its I/O, and
 * must leave the arena alone.
 *
 *     static vp_arena_t arena[VP_ARENA_WORDS(MY_MODEL_ARENA_SIZE)];
 *     memcpy(vp_model_input(&my_model, arena), image, vp_model_input_size(&my_model));
 *     vp_model_invoke(&my_model, arena);
 *     const int8_t *scores = vp_model_output(&my_model, arena);
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
    uint32_t arena_size;               /**< Bytes the arena needs: activations, input, output, scratch. */
    uint32_t step_count;               /**< Steps of one inference, at least 1. */
    vp_tensor input;
    vp_tensor output;
    /** Runs step `step` (0 .. step_count - 1) on `arena`. */
    void (*step)(uint32_t step, vp_arena_t *arena);
} vp_model;

/** Where the caller writes the input before step 0. It may be overwritten from step 0 on. */
static inline int8_t *vp_model_input(const vp_model *model, vp_arena_t *arena)
{
    return (int8_t *)arena + model->input.offset;
}

/** Where the output stands after the last step, until the next inference begins. */
static inline const int8_t *vp_model_output(const vp_model *model, const vp_arena_t *arena)
{
    return (const int8_t *)arena + model->output.offset;
}

/** Runs all steps of one inference. */
static inline void vp_model_invoke(const vp_model *model, vp_arena_t *arena)
{
    for (uint32_t step = 0; step < model->step_count; step++) {
        model->step(step, arena);
    }
}

#ifdef __cplusplus
}
#endif

#endif
