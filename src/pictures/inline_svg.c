/* A figure of cairo's on a page. There it lies beside others, so that its names must be its own; it takes the page's
 * colors, light or dark; and its spots become places that tell a value. */
#include "canvas.h"

#include "gmvae/text.h"

#include <string.h>

static const double points_a_unit = 0.75;

/* What cairo writes, and what stands there on a page. */
static const struct word {
    const char *from, *to;
} words[] = {{"rgb(20%,20%,20%)", "var(--ink)"},
             {"rgb(87%,87%,87%)", "var(--faint)"},
             {"rgb(100%,100%,100%)", "var(--paper)"},
             {"rgb(3%,27%,58%)", "var(--share)"},
             {"rgb(98%,98%,98%)", "var(--on-share)"},
             {" id=\"", " id=\"fN-"},
             {"href=\"#", "href=\"#fN-"},
             {"url(#", "url(#fN-"}};
enum { word_count = sizeof words / sizeof words[0] };

static void put_word(FILE *page, const char *text, int number)
{
    for (; *text != '\0'; text++) {
        if (text[0] == 'f' && text[1] == 'N') {
            fprintf(page, "f%d", number);
            text++;
        } else {
            fputc(*text, page);
        }
    }
}

/* Copies [from, end) with the words changed. */
static void put_changed(FILE *page, const char *from, const char *end, int number)
{
    while (from < end) {
        const struct word *found = NULL;
        bool may = strchr("r hu", *from) != NULL; /* what they begin with: pixels are a million letters */
        for (int w = 0; may && w < word_count && found == NULL; w++) {
            found = strncmp(from, words[w].from, strlen(words[w].from)) == 0 ? &words[w] : NULL;
        }
        if (found != NULL) {
            put_word(page, found->to, number);
            from += strlen(found->from);
        } else {
            fputc(*from++, page);
        }
    }
}

gmv_status gmv_inline_svg(FILE *page, int number, const char *svg, int spots, const gmv_spot *spot)
{
    const char *begin = strstr(svg, "<svg"), *end = strstr(svg, "</svg>");
    if (begin == NULL || end == NULL) {
        return GMV_FAIL(GMV_ERR_INTERNAL, "what cairo wrote is no SVG");
    }
    fputs("<figure>\n", page);
    put_changed(page, begin, end, number);
    for (int i = 0; i < spots; i++) {
        const gmv_box *box = &spot[i].box;
        fprintf(page, "<rect class=\"spot\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" data-tip=\"",
                box->x * points_a_unit, box->y * points_a_unit, box->width * points_a_unit,
                box->height * points_a_unit);
        gmv_print_html_text(page, spot[i].text);
        fputs("\"/>\n", page);
    }
    fputs("</svg>\n</figure>\n", page);
    return GMV_OK;
}
