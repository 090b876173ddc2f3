/* The font of all pictures, DejaVu Sans, as part of the program: a machine that trains may have none. */
#include "font.h"

#include <cairo-ft.h>
#include <ft2build.h>
#include FT_FREETYPE_H

/* The file of the package fonts-dejavu-core, byte for byte. */
__asm__(".pushsection .rodata\n"
        ".balign 16\n"
        "gmv_font_bytes:\n"
        ".incbin \"" GMVAE_FONT "\"\n"
        "gmv_font_end:\n"
        ".byte 0\n"
        ".popsection\n");
extern const unsigned char gmv_font_bytes[], gmv_font_end[];

cairo_font_face_t *gmv_font_face(void)
{
    static cairo_font_face_t *face; /* for as long as the program runs */
    static FT_Library library;
    FT_Face outlines;
    if (face == NULL && FT_Init_FreeType(&library) == 0 &&
        FT_New_Memory_Face(library, gmv_font_bytes, (FT_Long)(gmv_font_end - gmv_font_bytes), 0, &outlines) == 0) {
        face = cairo_ft_font_face_create_for_ft_face(outlines, 0);
    }
    return face;
}
